"""Each row of the hostile table against an agent that runs, which answers a chat after it. See plugin_rows.py.

python -m pytest -q -m long tests/security/test_plugins_rows.py        writes docs/plugins-hostile.md
"""

import re
from pathlib import Path

import pytest

from harness import BusServer
from security.plugin_rows import ROWS, Seen, attack, house

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "plugins-hostile.md"
CLOSELY = ROOT / "tests" / "security" / "test_plugins_hostile.py"
GROUPS = 8
HEAD = """\
# What hostile plugins come to

Written by `python -m pytest -m long tests/security/test_plugins_rows.py`, not by hand: each row was tried on an agent
that ran, through installing, calling and chatting, and after each the agent answered a chat turn (last column). Times
are of a machine with two shared cores. The tests that are named try the rows more closely, on the plugins' processes
alone.

| row | the plugin | what was seen | tests besides | chat after it |
|---|---|---|---|---:|
"""


def row_tests() -> dict[str, list[str]]:
    """By row: the tests in test_plugins_hostile.py that carry its number."""
    found: dict[str, list[str]] = {row.number: [] for row in ROWS}
    for name in re.findall(r"^(?:async )?def (test_rows?_\w+)", CLOSELY.read_text(), re.MULTILINE):
        numbers = re.match(r"test_rows?_((?:\d+b?_|to_)+)", name)
        assert numbers is not None, name
        parts = numbers[1].rstrip("_").split("_")
        if "to" in parts:
            parts = [str(n) for n in range(int(parts[0]), int(parts[2]) + 1)]
        for part in parts:
            found[part.lstrip("0")].append(name)
    return found


def test_every_row_is_here_and_has_a_test_of_its_own_besides() -> None:
    numbers = [row.number for row in ROWS]
    assert numbers == [*map(str, range(1, 34)), "33b", *map(str, range(34, 59))]
    assert [number for number, named in row_tests().items() if not named] == []


def write_table(seen: list[Seen]) -> None:
    named = row_tests()
    lines = []
    for one in seen:
        outcome = one.outcome.replace("|", "/")[:220]
        besides = "<br>".join(f"`{name}`" for name in dict.fromkeys(named[one.row.number]))
        lines.append(f"| {one.row.number} | {one.row.what} | {outcome} | {besides} | {one.answered:.0f} ms |\n")
    DOCUMENT.write_text(HEAD + "".join(lines))


@pytest.mark.parametrize("group", range(GROUPS))
async def test_the_agent_answers_a_chat_after_every_row(
    bus_server: BusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    async with house(bus_server, tmp_path, monkeypatch) as live:
        for row in ROWS[group::GROUPS]:
            seen = await attack(live, row)
            print(f"\n{row.number}: {seen.outcome} ({seen.answered:.0f} ms)")


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_all_rows_in_one_agent_and_the_table_of_them(
    bus_server: BusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(bus_server, tmp_path, monkeypatch) as live:
        write_table([await attack(live, row) for row in ROWS])

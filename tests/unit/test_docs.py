"""What the documents tell people to type is accepted by the command, and what they point at is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from opencrust_cli.main import parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def commands(text: str) -> list[str]:
    """The lines of shell blocks that call `opencrust`, without comments, pipes and redirections."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if line.startswith("opencrust "):
                found.append(re.split(r"\s[|<>]|\s#\s", line)[0].strip())
    return found


def test_the_readme_shows_commands() -> None:
    assert len(commands((ROOT / "README.md").read_text())) >= 10


@pytest.mark.parametrize("line", sorted({c for d in DOCUMENTS for c in commands(d.read_text())}))
def test_a_command_that_is_shown_is_one_that_works(line: str) -> None:
    words = shlex.split(line)[1:]
    try:
        options = parser().parse_args(words)
    except SystemExit:
        pytest.fail(f"opencrust does not take: {line}")
    assert callable(options.run)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_what_a_document_points_at_is_there(document: Path) -> None:
    text = document.read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    named = re.findall(r"`((?:tests|docs|shared|services|cli|deploy|requirements)/[\w./-]+)`", text)
    missing = [
        target
        for target, base in [*((t, document.parent) for t in links), *((t, ROOT) for t in named)]
        if not (base / target).exists()
    ]
    assert missing == []


def test_install_options_are_documented() -> None:
    script = (ROOT / "install.sh").read_text()
    document = (ROOT / "docs/install.md").read_text()
    usage = script[script.index("<<'USAGE'") : script.index("\nUSAGE\n")]
    for option in set(re.findall(r"^\s+(--[a-z-]+)", usage, re.M)) - {"--help"}:
        assert f"`{option}" in document, option

import io
import json
import stat
from pathlib import Path

import pytest

from opencrust_cli.supervisor_log import LINE_BYTES, OLD_FILES, Lines, LogFile, Terminal, for_person, render


def test_lines_are_put_together_from_pieces() -> None:
    lines = Lines()
    assert lines.feed(b"on") == []
    assert lines.feed(b"e\ntwo\nthr") == [b"one", b"two"]
    assert lines.end() == [b"thr"]
    assert lines.end() == []


def test_a_line_without_end_cannot_fill_the_memory() -> None:
    lines = Lines()
    cut = [line for _ in range(40) for line in lines.feed(b"x" * 10_000)]
    assert cut
    assert all(len(line) <= LINE_BYTES for line in cut)


def test_a_file_is_private_and_rotated_and_old_ones_are_dropped(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "agent.log", limit=100)
    for number in range(100):
        log.write(f"{number:020}".encode())
    log.close()
    files = sorted((tmp_path / "log").iterdir())
    assert [path.name for path in files] == ["agent.log", *(f"agent.log.{n}" for n in range(1, OLD_FILES + 1))]
    assert all(path.stat().st_size <= 100 for path in files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert (tmp_path / "log" / "agent.log").read_text().splitlines()[-1] == f"{99:020}"
    numbers = [int(line) for path in reversed(files[1:]) for line in path.read_text().split()]
    assert numbers == sorted(numbers)


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        log = LogFile(tmp_path / "agent.log")
        log.write(text)
        log.close()
    assert (tmp_path / "agent.log").read_bytes() == b"one\ntwo\n"


def test_our_own_json_is_shown_as_a_sentence() -> None:
    entry = {"time": "2026-11-22T17:40:59.123Z", "level": "info", "service": "agent", "message": "answered", "n": 3}
    assert render("agent", json.dumps(entry).encode(), None) == "agent       | 17:40:59 INFO    answered n=3"


@pytest.mark.parametrize("text", ["\x1b[2Jgone", '{"message": "\\u001b[2Jgone"}', "[]", '{"a": 1}', "\xff", '{"x"' * 9])
def test_no_line_moves_the_cursor(text: str) -> None:
    shown = render("agent", text.encode("latin-1"), None)
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert shown.startswith("agent       | ")


def test_each_service_has_a_colour_of_its_own_and_keeps_it() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, colour=True)
    for name in ("agent", "vault", "agent"):
        terminal.show(name, b"text")
    first, second, third = stream.getvalue().splitlines()
    assert first == third
    assert first[:5] != second[:5]


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    terminal = Terminal(Gone(), colour=False)
    terminal.show("agent", b"one")
    terminal.show("agent", b"two")


@pytest.mark.parametrize(
    ("service", "line", "shown"),
    [
        ("bus", b"[7] 2026/11/25 13:24:07.492193 [INF] Starting nats-server", False),
        ("bus", b"[7] 2026/11/25 13:24:07.492193 [ERR] no space left", True),
        ("provisioner", b'{"created": ["MSG_IN"]}', False),
        ("provisioner", b'{"message": "the stream MSG_IN is as it was", "level": "INFO"}', True),
        ("agent", b'{"created": "odd, but not ours to hide"}', True),
    ],
)
def test_banners_and_lists_are_in_the_files_alone(service: str, line: bytes, shown: bool) -> None:
    stream = io.StringIO()
    Terminal(stream, colour=False).show(service, line)
    assert for_person(service, line) is shown
    assert bool(stream.getvalue()) is shown


def test_a_log_that_could_not_be_opened_anew_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogFile(tmp_path / "log" / "agent.log", limit=30)
    log.write(b"x" * 20)
    with monkeypatch.context() as full:
        full.setattr(LogFile, "_open", lambda self: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        log.write(b"y" * 20)
        log.write(b"z" * 20)
    log.write(b"again")
    log.close()
    assert (tmp_path / "log" / "agent.log").read_text() == "again\n"

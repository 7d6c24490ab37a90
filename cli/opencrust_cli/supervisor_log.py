"""What services write: into one rotated file each, and to the terminal with the service's name in colour."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

from opencrust.identity.files import PRIVATE_FILE, make_private_directory
from opencrust.telemetry.logs import human_line
from opencrust_cli.supervisor_stack import BUS, PROVISIONER

FILE_BYTES = 4 * 1024 * 1024
OLD_FILES = 3
LINE_BYTES = 64 * 1024
TAIL_LINES = 40
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 95)
_WIDTH = 11


class LogFile:
    """A file that is renamed to ``.1`` … ``.3`` when it grows over `limit` bytes."""

    def __init__(self, path: Path, limit: int = FILE_BYTES) -> None:
        make_private_directory(path.parent)
        self._path = path
        self._limit = limit
        self._file = self._open()

    def _open(self) -> BinaryIO:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        return os.fdopen(descriptor, "ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append one line; a full disk loses it, and does not stop anybody."""
        with contextlib.suppress(OSError):
            if self._file.closed:  # it could not be opened anew when it was full
                self._file = self._open()
            if self._file.tell() + len(line) > self._limit:
                self._rotate()
            self._file.write(line + b"\n")

    def _rotate(self) -> None:
        self._file.close()
        for number in range(OLD_FILES, 0, -1):
            older = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            with contextlib.suppress(FileNotFoundError):
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        self._file = self._open()

    def close(self) -> None:
        self._file.close()


class Lines:
    """Cuts a stream of bytes into lines; a line longer than `LINE_BYTES` is cut there."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line[:LINE_BYTES] for line in lines]

    def end(self) -> list[bytes]:
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class Terminal:
    """The person's view: one line per log line that is for a person, `None` as stream shows nothing."""

    def __init__(self, stream: TextIO | None, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._known: list[str] = []

    @classmethod
    def stdout(cls) -> "Terminal":
        """The person's terminal, or the pipe he put there."""
        return cls(sys.stdout, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)

    def show(self, service: str, line: bytes) -> None:
        if self._stream is None or not for_person(service, line):
            return
        try:
            self._stream.write(render(service, line, self._paint(service)) + "\n")
            self._stream.flush()
        except OSError:  # the terminal is gone; the files go on
            self._stream = None

    def _paint(self, service: str) -> int | None:
        if service not in self._known:
            self._known.append(service)
        return _COLOURS[self._known.index(service) % len(_COLOURS)] if self._colour else None


def for_person(service: str, line: bytes) -> bool:
    """Whether a line belongs on the terminal: the bus's banner and the provisioner's lists are only in the files."""
    if service == BUS:
        return b" [INF]" not in line
    return not (service == PROVISIONER and line.startswith(b'{"') and b'"message"' not in line)


def render(service: str, line: bytes, colour: int | None) -> str:
    """A captured line for a person: our own JSON as a sentence, control characters of others made visible."""
    prefix = f"{service:<{_WIDTH}} | "
    if colour is not None:
        prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
    text = line.decode("utf-8", "replace")
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        entry = None
    if isinstance(entry, dict) and "message" in entry:
        shown = human_line({**entry, "service": ""}, colour=colour is not None)
        return prefix + shown.replace(" " * _WIDTH + "  ", " ", 1)
    return prefix + "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)

"""What the supervisor can run: programs, as plain data that can also be handed to a fresh process as JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that is not ours, to be executed."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A service's package, to be run by `opencrust.service.serve`."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A module of ours with ``main(arguments) -> exit code``, which does one thing and ends."""

    module: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """One thing to run.

    Parameters:
        name: in logs and status.
        what: how it is started.
        home: OPENCRUST_HOME, closed to it but for `read` and `write`.
        directory: its working directory.
        environment: all of its environment; nothing secret.
        ready_line: it is ready once a line of its output contains this; a service says so by itself.
    """

    name: str
    what: Binary | Service | Tool
    home: Path
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    ready_line: str = ""


_KINDS: dict[str, Callable[..., Binary | Service | Tool]] = {"Binary": Binary, "Service": Service, "Tool": Tool}


def dump(program: Program) -> str:
    """As JSON, for `load` in another process."""
    return json.dumps({**asdict(program), "kind": type(program.what).__name__}, default=str)


def load(text: str) -> Program:
    """Read what `dump` wrote."""
    fields: dict[str, Any] = json.loads(text)
    what = {name: tuple(value) if isinstance(value, list) else value for name, value in fields["what"].items()}
    return Program(
        name=fields["name"],
        what=_KINDS[fields["kind"]](**what),
        home=Path(fields["home"]),
        directory=Path(fields["directory"]),
        environment=fields["environment"],
        read=tuple(map(Path, fields["read"])),
        write=tuple(map(Path, fields["write"])),
        ready_line=fields["ready_line"],
    )

"""Structured logs: JSON lines for machines, short lines for people, secrets for nobody.

A record becomes an *entry*, a flat mapping of JSON values, and only then a line::

    {"time": "2026-11-22T17:40:59.123Z", "level": "info", "service": "agent", "logger": "opencrust_agent.turn",
     "message": "answered", "trace_id": "…32 hex…", "span_id": "…16 hex…", "seconds": 0.41}

Whatever a caller passes in ``extra`` appears as a field of its own. (:mod:`logging` raises KeyError for names that it
uses itself, such as ``created``, ``name`` or ``args``: choose others.) Exceptions are in ``exception`` (type) and
``stack`` (frames and text, never local variables). Every text passes the redactor; what cannot be formatted is
reported by place, without its arguments. Lines go to stderr: JSON unless that is a terminal.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Final

from opentelemetry.trace import get_current_span

from opencrust.telemetry.redaction import Redactor

LEVELS: Final = ("debug", "info", "warning", "error")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED: Final = frozenset(
    {"time", "level", "service", "logger", "message", "trace_id", "span_id", "exception", "stack"}
)
_COLOURS: Final = {"debug": "\x1b[2m", "info": "", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_STACK_LIMIT: Final = 16_384


def entry(record: logging.LogRecord, service: str, redactor: Redactor) -> dict[str, Any]:
    """The record as an entry: already redacted, ready for JSON."""
    span = get_current_span().get_span_context()
    made: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "service": service,
        "logger": record.name,
        "message": redactor.text(_message(record)),
    }
    if span.is_valid:
        made["trace_id"] = f"{span.trace_id:032x}"
        made["span_id"] = f"{span.span_id:016x}"
    for name, value in vars(record).items():
        if name not in _STANDARD and not name.startswith("_"):
            shown = redactor.text(name)
            made[f"extra.{shown}" if shown in _RESERVED else shown] = _extra(value, name, redactor)
    if record.exc_info and record.exc_info[1] is not None:
        made["exception"] = type(record.exc_info[1]).__qualname__
        made["stack"] = redactor.text(_stack(record.exc_info[1]), _STACK_LIMIT)
    elif record.stack_info:
        made["stack"] = redactor.text(record.stack_info, _STACK_LIMIT)
    return made


def json_line(entry: Mapping[str, Any]) -> str:
    """The entry as one line of ASCII JSON: no line break or control character of a message survives."""
    return json.dumps(entry, separators=(",", ":"))


def human_line(entry: Mapping[str, Any], *, colour: bool = False) -> str:
    """The entry as a person reads it: time of day (UTC), level, service, message, fields, short trace id.

    Takes what :func:`json_line` wrote, so a log view can use it on a captured file. Control characters are escaped:
    a message cannot move the cursor or recolour the terminal.
    """
    level = str(entry.get("level", "info"))
    fields = " ".join(
        f"{name}={value}" for name, value in entry.items() if name not in _RESERVED and not isinstance(value, dict)
    )
    trace = str(entry.get("trace_id", ""))[:8]
    head = f"{str(entry.get('time', ''))[11:19]} {level.upper():<7} {entry.get('service', ''):<11} "
    line = _printable(head + " ".join(x for x in (str(entry.get("message", "")), fields, trace and f"[{trace}]") if x))
    stack = "".join("\n    " + _printable(row) for row in str(entry.get("stack", "")).splitlines())
    paint = _COLOURS.get(level, "") if colour else ""
    return f"{paint}{line}{stack}\x1b[0m" if paint else f"{line}{stack}"


class LogHandler(logging.Handler):
    """Writes each record as one line to ``stream``; the only handler of a process."""

    def __init__(self, service: str, redactor: Redactor, stream: IO[str], *, human: bool, colour: bool = False) -> None:
        super().__init__()
        self._service = service
        self._redactor = redactor
        self._stream = stream
        self._human = human
        self._colour = colour

    def emit(self, record: logging.LogRecord) -> None:
        try:
            made = entry(record, self._service, self._redactor)
        except Exception as error:  # noqa: BLE001  a log call never breaks its caller
            made = self._unformatted(record, error)
        line = human_line(made, colour=self._colour) if self._human else json_line(made)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the reader went away or the stream is closed: there is nobody to tell
            pass

    def handleError(self, record: logging.LogRecord) -> None:
        """Says nothing: the base class would print the record's arguments to stderr as they are."""

    def _unformatted(self, record: logging.LogRecord, error: Exception) -> dict[str, Any]:
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": f"a log record could not be formatted at {record.filename}:{record.lineno}",
            "exception": type(error).__qualname__,
        }


def configure_logs(
    service: str,
    redactor: Redactor,
    *,
    level: str = "info",
    stream: IO[str] | None = None,
    human: bool | None = None,
) -> LogHandler:
    """Make :class:`LogHandler` the only way out for this process's logs, warnings and uncaught exceptions.

    ``level`` is for OpenCrust's own loggers; libraries are held at ``warning``, since several of them log request
    URLs and bodies below that. ``human=None`` decides by whether ``stream`` (stderr) is a terminal.
    Raises ValueError for an unknown level.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"log level {level!r} is unknown; use one of {', '.join(LEVELS)}")
    stream = sys.stderr if stream is None else stream
    human = stream.isatty() if human is None else human
    handler = LogHandler(service, redactor, stream, human=human, colour=human and stream.isatty())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    own = getattr(logging, level.upper())
    for name in ("opencrust", f"opencrust_{service.replace('-', '_')}"):
        logging.getLogger(name).setLevel(own)
    logging.getLogger("asyncio").addFilter(_is_worth_a_line)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    return handler


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """asyncio warns at the end of every TLS connection of nats-py's, of something that has no consequence."""
    return not str(record.msg).startswith("returning true from eof_received()")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  wrong arguments: say the template, never the arguments
        return f"{record.msg} [arguments do not fit: {type(error).__qualname__}]"


def _extra(value: Any, name: str, redactor: Redactor) -> Any:
    try:
        return redactor.value(value, name)
    except Exception as error:  # noqa: BLE001  a broken __str__ hides one field, not the line
        return f"[{type(value).__qualname__}: {type(error).__qualname__}]"


def _stack(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("opencrust").critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        logging.getLogger("opencrust").error(
            "exception that could not be raised", exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )

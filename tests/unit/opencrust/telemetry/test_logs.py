from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from opencrust.telemetry import internal
from opencrust.telemetry.logs import configure_logs, human_line, json_line
from opencrust.telemetry.redaction import Redactor

CANARY = "sk-ant-canary0123456789abcdefghijklmnop"
LOG = logging.getLogger("opencrust_agent.turn")


def captured(**settings: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logs("agent", Redactor(), stream=stream, **settings)
    return stream


def only_entry(stream: io.StringIO) -> dict[str, Any]:
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1, lines
    made: dict[str, Any] = json.loads(lines[0])
    return made


def test_a_line_says_who_when_what() -> None:
    stream = captured()
    LOG.info("answered %d messages", 3, extra={"seconds": 0.41, "channel": "web"})
    made = only_entry(stream)
    assert made.pop("time").endswith("Z")
    assert made == {
        "level": "info",
        "service": "agent",
        "logger": "opencrust_agent.turn",
        "message": "answered 3 messages",
        "seconds": 0.41,
        "channel": "web",
    }


def test_a_line_inside_a_span_carries_its_ids() -> None:
    stream = captured()
    with internal("turn") as span:
        LOG.info("inside")
    LOG.info("outside")
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert inside["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert "trace_id" not in outside


class _Talkative:
    def __str__(self) -> str:
        return f"object with {CANARY}"

    __repr__ = __str__


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__


def _raise_with_local() -> None:
    unsaid = "x-local-" + "canary-7"  # noqa: F841  must not appear: it is a local variable
    raise ValueError(f"bad key {CANARY}")


def _logs_exception() -> None:
    try:
        _raise_with_local()
    except ValueError as error:
        error.add_note(f"note {CANARY}")
        LOG.exception("failed with %s", error)


def _logs_chain() -> None:
    try:
        try:
            _raise_with_local()
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        LOG.warning("chained", exc_info=True)


def _logs_group() -> None:
    LOG.error("several", exc_info=ExceptionGroup("group", [ValueError(CANARY), KeyError(CANARY)]))


def _warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"deprecated {CANARY}", stacklevel=1)


def _dies_in_a_thread() -> None:
    thread = threading.Thread(target=lambda: (_ for _ in ()).throw(ValueError(CANARY)))
    thread.start()
    thread.join()


def _dies_at_top() -> None:
    try:
        _raise_with_local()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)


def _asyncio_reports() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"task died {CANARY}", "exception": ValueError(CANARY)}
        )

    asyncio.run(main())


PATHS: dict[str, Callable[[], None]] = {
    "message": lambda: LOG.info(f"key {CANARY}"),
    "args": lambda: LOG.info("key %s", CANARY),
    "mapping args": lambda: LOG.info("key %(key)s", {"key": CANARY}),
    "object arg": lambda: LOG.info("key %s %r", _Talkative(), _Talkative()),
    "put together from parts": lambda: LOG.info("key %s%s", CANARY[:10], CANARY[10:]),
    "arguments that do not fit": lambda: LOG.info("key %d", CANARY),
    "too many arguments": lambda: LOG.info("key", CANARY),
    "argument that cannot be printed": lambda: LOG.info("key %s", _Unprintable()),
    "extra text": lambda: LOG.info("key", extra={"key": CANARY}),
    "extra name": lambda: LOG.info("key", extra={CANARY: 1}),
    "extra nested": lambda: LOG.info("key", extra={"a": {"b": [CANARY]}}),
    "extra object": lambda: LOG.info("key", extra={"a": _Talkative(), "b": _Unprintable()}),
    "extra bytes": lambda: LOG.info("key", extra={"a": CANARY.encode()}),
    "extra that shadows a field": lambda: LOG.info("key", extra={"trace_id": CANARY, "service": CANARY}),
    "exception": _logs_exception,
    "exception chain": _logs_chain,
    "exception group": _logs_group,
    "stack": lambda: LOG.info("key", stack_info=True),
    "library": lambda: logging.getLogger("httpx").warning("POST https://x/bot123456789:%s", CANARY),
    "warning": _warns,
    "thread": _dies_in_a_thread,
    "uncaught": _dies_at_top,
    "asyncio": _asyncio_reports,
    "not a text at all": lambda: LOG.info({"password": "abc", "key": CANARY}),
}


@pytest.mark.parametrize("human", [False, True], ids=["json", "human"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_logging_path_lets_a_secret_through(
    path: Callable[[], None], human: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = captured(human=human)
    path()
    out, err = capfd.readouterr()
    assert stream.getvalue(), "the path logged nothing, so it shows nothing"
    for text in (stream.getvalue(), out, err):
        assert CANARY not in text
        assert CANARY[8:24] not in text
        assert "x-local-canary-7" not in text
    assert out == err == "", "nothing goes round the handler"


def test_an_unraisable_exception_goes_through_the_handler() -> None:
    script = (
        "import sys\n"
        "from opencrust.telemetry import configure\n"
        "configure('agent')\n"
        "class Broken:\n"
        f"    def __del__(self): raise ValueError('{CANARY}')\n"
        "Broken()\n"
        f"raise RuntimeError('{CANARY}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": "shared"}, timeout=60
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["exception"] for line in lines] == ["ValueError", "RuntimeError"]
    assert CANARY not in done.stderr + done.stdout
    assert done.returncode == 1


def test_an_exception_shows_frames_and_type_but_no_locals() -> None:
    stream = captured()
    _logs_exception()
    made = only_entry(stream)
    assert made["exception"] == "ValueError"
    assert "_raise_with_local" in made["stack"]
    assert "bad key [redacted]" in made["stack"]


def test_a_message_cannot_forge_a_second_line_or_drive_the_terminal() -> None:
    hostile = 'x\n{"level":"error","message":"forged"}\r\x1b[2J\x9b31m\u2028\u202e'
    stream = captured()
    LOG.info("%s", hostile)
    assert only_entry(stream)["message"] == hostile
    assert stream.getvalue().isascii()
    stream = captured(human=True)
    LOG.info("%s", hostile)
    assert stream.getvalue().count("\n") == 1
    assert not set(stream.getvalue()) & {"\x1b", "\r", "\x9b", "\u2028", "\u202e"}


def test_level_is_for_our_own_loggers_and_libraries_stay_at_warning() -> None:
    stream = captured(level="debug")
    LOG.debug("ours")
    logging.getLogger("opencrust.bus").debug("core")
    logging.getLogger("openai._base_client").debug("Request options: %s", {"json": "what the person wrote"})
    logging.getLogger("httpx").info("HTTP Request: POST …")
    logging.getLogger("nats").warning("slow consumer")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ours", "core", "slow consumer"]


def test_an_unknown_level_is_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match="'loud' is unknown; use one of debug, info, warning, error"):
        configure_logs("agent", Redactor(), level="loud")


def test_a_closed_stream_breaks_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    stream = captured()
    stream.close()
    LOG.error("nobody reads this")
    assert capfd.readouterr() == ("", "")


def test_human_line_is_short_and_reads_what_json_line_wrote() -> None:
    stream = captured()
    with internal("turn") as span:
        LOG.warning("slow model", extra={"seconds": 3})
    line = human_line(json.loads(stream.getvalue()))
    assert line[8:] == f" WARNING agent       slow model seconds=3 [{span.get_span_context().trace_id:032x}"[:-24] + "]"


def test_human_line_survives_foreign_json() -> None:
    assert human_line({"message": 5, "level": None}).strip().endswith("5")
    assert json_line({"message": "ü"}) == '{"message":"\\u00fc"}'


def test_colour_only_when_asked() -> None:
    entry = {"time": "2026-11-22T10:00:00.000Z", "level": "error", "service": "agent", "message": "m"}
    assert "\x1b" not in human_line(entry)
    assert human_line(entry, colour=True).startswith("\x1b[31m")
    assert human_line(entry, colour=True).endswith("\x1b[0m")

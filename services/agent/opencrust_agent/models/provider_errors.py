"""What a provider says when it fails, turned into a `ModelError`: by HTTP status, by its code, and by its words.

The words matter because "your prompt is too long" has no code of its own in half of the APIs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from opencrust_agent.models.errors import ErrorKind, ModelError

MAX_MESSAGE = 300
MAX_RETRY_AFTER = 3600.0

_CONTEXT_WINDOW = re.compile(
    r"context[ _](?:length|window|size|limit)|maximum context|prompt is too long|input is too long|too many tokens"
    r"|token count .{0,40}exceeds|reduce the length|exceed_context",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"content_filter|content_policy|ResponsibleAIPolicyViolation|refusal", re.IGNORECASE)
_NO_CREDIT = re.compile(
    r"insufficient_quota|insufficient[ _]balance|billing|credit balance|exceeded your current quota", re.IGNORECASE
)

_BY_WORD: tuple[tuple[str, ErrorKind], ...] = (
    ("rate_limit", ErrorKind.RATE_LIMIT),
    ("rate limit", ErrorKind.RATE_LIMIT),
    ("too_many_requests", ErrorKind.RATE_LIMIT),
    ("resource_exhausted", ErrorKind.RATE_LIMIT),
    ("overloaded", ErrorKind.OVERLOADED),
    ("unavailable", ErrorKind.OVERLOADED),
    ("timeout", ErrorKind.TIMEOUT),
    ("authentication", ErrorKind.AUTH),
    ("permission", ErrorKind.AUTH),
    ("invalid_api_key", ErrorKind.AUTH),
    ("invalid_request", ErrorKind.BAD_REQUEST),
    ("not_found", ErrorKind.BAD_REQUEST),
)


def from_response(status: int, body: bytes, headers: Mapping[str, str]) -> ModelError:
    """For an answer whose status is not 200. `body` may be cut; it need not be JSON."""
    words, message = _read(body)
    kind = _by_status(status)
    if kind in (ErrorKind.BAD_REQUEST, ErrorKind.CONTEXT_WINDOW):
        kind = _bad_request(words, message) or kind
    elif kind is ErrorKind.RATE_LIMIT and _NO_CREDIT.search(f"{words} {message}"):
        kind = ErrorKind.AUTH
    if 300 <= status < 400:
        message = "the provider redirected the request and redirects are not followed: correct its base URL"
    return ModelError(kind, message or _phrase(status), status=status, retry_after=retry_after(headers))


def from_event(error: object) -> ModelError:
    """For an error object inside a stream, or in place of an answer."""
    words, message = _fields(error)
    status = _status_in(error)
    kind = _bad_request(words, message)
    if kind is None and _NO_CREDIT.search(words):
        kind = ErrorKind.AUTH
    if kind is None:
        kind = next((kind for word, kind in _BY_WORD if word in words.lower()), None)
    if kind is None and status is not None and status >= 400:
        kind = _by_status(status)
    return ModelError(kind or ErrorKind.SERVER, message or "the provider reported an error without a message")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` (OpenAI, Azure) or `Retry-After` (RFC 9110 §10.2.3: seconds or a date);
    None when absent or unreadable, never more than an hour."""
    seconds: float | None = None
    try:
        if milliseconds := headers.get("retry-after-ms"):
            seconds = float(milliseconds) / 1000
        elif value := headers.get("retry-after"):
            seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(headers.get("retry-after", ""))
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            seconds = (when - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def one_line(text: str) -> str:
    """Printable, on one line, at most MAX_MESSAGE characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= MAX_MESSAGE else flat[: MAX_MESSAGE - 1] + "…"


def _by_status(status: int) -> ErrorKind:
    match status:
        case 401 | 402 | 403:
            return ErrorKind.AUTH
        case 408 | 504:
            return ErrorKind.TIMEOUT
        case 413:
            return ErrorKind.CONTEXT_WINDOW
        case 429:
            return ErrorKind.RATE_LIMIT
        case 503 | 529:
            return ErrorKind.OVERLOADED
        case 409 | 425:
            return ErrorKind.SERVER
    return ErrorKind.SERVER if status >= 500 else ErrorKind.BAD_REQUEST


def _bad_request(words: str, message: str) -> ErrorKind | None:
    both = f"{words} {message}"
    if _CONTEXT_WINDOW.search(both):
        return ErrorKind.CONTEXT_WINDOW
    if _REFUSED.search(words):
        return ErrorKind.REFUSED
    return None


def _read(body: bytes) -> tuple[str, str]:
    text = body.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        # HTML error pages say nothing useful to a person.
        return "", "" if text.lstrip().startswith("<") else text
    if isinstance(parsed, list) and parsed:  # Gemini's compatible API wraps its error in a list
        parsed = parsed[0]
    if isinstance(parsed, dict):
        return _fields(parsed.get("error") or parsed)
    return "", parsed if isinstance(parsed, str) else ""


def _fields(error: object) -> tuple[str, str]:
    """The machine-readable words (type, code, status) and the message of an error object."""
    if not isinstance(error, dict):
        return "", error if isinstance(error, str) else ""
    words = " ".join(str(error[key]) for key in ("type", "code", "status") if isinstance(error.get(key), str | int))
    inner = error.get("innererror")
    if isinstance(inner, dict):  # Azure
        code = inner.get("code")
        words += f" {code}" if isinstance(code, str) else ""
    message = error.get("message") or error.get("detail") or ""
    if not isinstance(message, str):  # Mistral and FastAPI put a list of what was wrong here
        try:
            message = json.dumps(message)
        except RecursionError:
            message = ""
    return words, message


def _status_in(error: object) -> int | None:
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _phrase(status: int) -> str:
    match status:
        case 401 | 403:
            return "the provider did not accept the key"
        case 404:
            return "the provider does not know this address or model"
        case 429:
            return "too many requests"
    return "the provider gave no reason"

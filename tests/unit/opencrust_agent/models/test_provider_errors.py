"""Providers' error answers, in the words they really use."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from opencrust_agent.models import ErrorKind
from opencrust_agent.models.provider_errors import MAX_MESSAGE, from_event, from_response, one_line, retry_after


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "too long"}}, ErrorKind.CONTEXT_WINDOW),
        (400, {"error": {"message": "prompt is too long: 2 tokens > 1 maximum"}}, ErrorKind.CONTEXT_WINDOW),
        (400, {"error": {"type": "exceed_context_size_error", "message": "x"}}, ErrorKind.CONTEXT_WINDOW),
        (400, [{"error": {"message": "The input token count (9) exceeds the maximum"}}], ErrorKind.CONTEXT_WINDOW),
        (400, {"message": "Prompt too large for model with 32768 maximum context length"}, ErrorKind.CONTEXT_WINDOW),
        (413, {"error": {"type": "request_too_large"}}, ErrorKind.CONTEXT_WINDOW),
        (400, {"error": {"code": "content_filter", "message": "x"}}, ErrorKind.REFUSED),
        (400, {"error": {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, ErrorKind.REFUSED),
        (400, {"error": {"message": "bad tool"}}, ErrorKind.BAD_REQUEST),
        (422, {"detail": [{"loc": ["body", "x"]}]}, ErrorKind.BAD_REQUEST),
        (404, {"error": "model 'x' not found"}, ErrorKind.BAD_REQUEST),
        (401, {"error": {"message": "no"}}, ErrorKind.AUTH),
        (403, {}, ErrorKind.AUTH),
        (402, {"error": {"message": "Insufficient Balance"}}, ErrorKind.AUTH),
        (429, {"error": {"type": "insufficient_quota", "message": "x"}}, ErrorKind.AUTH),
        (429, {"error": {"message": "slow down"}}, ErrorKind.RATE_LIMIT),
        (408, {}, ErrorKind.TIMEOUT),
        (504, {}, ErrorKind.TIMEOUT),
        (500, {}, ErrorKind.SERVER),
        (502, "<html>bad gateway</html>", ErrorKind.SERVER),
        (503, "upstream connect error", ErrorKind.OVERLOADED),
        (529, {"error": {"type": "overloaded_error"}}, ErrorKind.OVERLOADED),
        (301, "", ErrorKind.BAD_REQUEST),
    ],
)
def test_kinds(status: int, body: Any, kind: ErrorKind) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = from_response(status, raw, {})
    assert (error.kind, error.status) == (kind, status)
    assert error.message
    assert "<html" not in error.message


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"[", b"[]", b"3", b"null", b'{"error": [1]}', b"[" * 99_999, b'{"error":{"message":{"a":1}}}'],
)
def test_any_body_is_survived(body: bytes) -> None:
    assert from_response(500, body, {}).kind is ErrorKind.SERVER


@pytest.mark.parametrize("error", [None, 3, [], {}, {"code": True}, {"code": "9" * 50}, {"type": {"a": 1}}])
def test_any_event_is_survived(error: Any) -> None:
    assert from_event(error).kind is ErrorKind.SERVER


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "999999"}, 3600),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 99 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (retry_after({"retry-after": when}) or 0) <= 60


def test_one_line() -> None:
    assert one_line("a\n\x1b[31mb\u202e\ud800 c") == "a [31mb c"
    assert len(one_line("x" * 9999)) == MAX_MESSAGE

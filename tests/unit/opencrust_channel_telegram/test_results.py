"""What the Bot API's answers mean: sent, later, never, or unknown."""

import time
from email.utils import formatdate

import pytest

from opencrust.channel.adapter import Refused, Retry, Sent, Unknown
from opencrust_channel_telegram.api import Answer, NoAnswer, _answer
from opencrust_channel_telegram.results import edit_result, link_error, no_answer, send_result


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"ok":true,"result":{"message_id":7}}', Sent),
        (429, b'{"ok":false,"error_code":429,"description":"x","parameters":{"retry_after":3}}', Retry),
        (500, b'{"ok":false,"error_code":500,"description":"Internal"}', Retry),
        (502, b"<html>Bad Gateway</html>", Retry),
        (504, b"<html>", Unknown),
        (200, b"<html>a captive portal</html>", Retry),
        (200, b"", Retry),
        (200, b"[]", Retry),
        (401, b'{"ok":false,"error_code":401,"description":"Unauthorized"}', Retry),
        (403, b'{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}', Refused),
        (400, b'{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}', Refused),
    ],
)
def test_an_answer_to_a_send(status: int, body: bytes, kind: type) -> None:
    assert isinstance(send_result(_answer(status, body)), kind)


def test_telegrams_own_time_is_respected() -> None:
    body = b'{"ok":false,"error_code":429,"description":"x","parameters":{"retry_after":3}}'
    result = send_result(_answer(429, body))
    assert isinstance(result, Retry)
    assert result.after == 3


@pytest.mark.parametrize(("header", "expected"), [("7", 7), ("soon", 0), ("", 0), ("-3", 0), ("9" * 400, 999_999_999)])
def test_the_front_may_say_how_long(header: str, expected: float) -> None:
    assert _answer(429, b"<html>", header).retry_after == expected


@pytest.mark.parametrize(("seconds", "usegmt", "least"), [(60, True, 50), (60, False, 50), (-60, True, 0)])
def test_or_until_when(seconds: int, usegmt: bool, least: int) -> None:
    header = formatdate(time.time() + seconds, usegmt=usegmt)
    assert least <= _answer(429, b"<html>", header).retry_after <= max(seconds, 0)


def test_no_answer_is_unknown_only_where_it_may_have_arrived() -> None:
    assert isinstance(no_answer(NoAnswer("x", sent=True)), Unknown)
    assert isinstance(no_answer(NoAnswer("x", sent=False)), Retry)


def test_an_edit_that_changes_nothing_is_done() -> None:
    same = Answer(False, None, 400, "Bad Request: message is not modified: …")
    assert edit_result(same, "7") == Sent("7")
    assert isinstance(edit_result(Answer(False, None, 400, "Bad Request: message to edit not found"), "7"), Refused)


def test_only_a_token_that_is_not_known_is_a_refusal_of_us() -> None:
    assert link_error(Answer(False, None, 401, "")).refused
    assert not link_error(Answer(False, None, 409, "")).refused
    assert link_error(Answer(False, None, 429, "", 9)).after == 9

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.contracts import ApprovalCard, SessionView, Turn
from opencrust.contracts.journal import CallState, Journal, JournalCall, Step
from opencrust_gateway import frames
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.errors import ApiError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_the_two_frames_of_a_client() -> None:
    assert frames.parse('{"type":"auth","v":1,"token":"t"}') == frames.Auth(type="auth", token="t")
    request = frames.parse('{"type":"req","id":"1","op":"ping"}')
    assert isinstance(request, frames.Request)
    assert (request.id, request.op, request.params) == ("1", "ping", {})


def refusal(text: str) -> ApiError | None:
    try:
        frames.parse(text)
    except ApiError as error:
        return error
    return None


@given(st.text() | json_values.map(json.dumps))
def test_whatever_comes_it_is_a_frame_or_a_clear_error(text: str) -> None:
    error = refusal(text)
    assert error is None or (error.status == 400 and len(error.message) < 600)


@pytest.mark.parametrize("version", ["2", "0", "null", '"1"', "true", "1.5"])
def test_another_version_is_refused_by_name(version: str) -> None:
    with pytest.raises(ApiError, match="version 1"):
        frames.parse(f'{{"type":"req","v":{version},"id":"1","op":"ping"}}')


def test_an_error_does_not_repeat_a_token() -> None:
    with pytest.raises(ApiError) as refused:
        frames.parse(json.dumps({"type": "auth", "token": "oc_secret" * 40}))
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"id":"7","op":3}', "7"), ('{"id":7}', None), ("[]", None), ("{", None), ('{"id":""}', None)],
)
def test_the_id_of_a_broken_request(text: str, found: str | None) -> None:
    assert frames.request_id(text) == found


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"conversation": "x"},
        {"conversation": "x", "text": ""},
        {"conversation": "x", "text": "x" * 65_537},
        {"conversation": "x", "text": 1},
        {"conversation": "x", "text": "x", "message_id": "a b"},
        {"conversation": "x", "text": "x", "account": "telegram"},
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ApiError):
        frames.parse_params(frames.SendParams, params)


def test_a_turn_that_waits_for_a_word_carries_the_question() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    card = ApprovalCard(id="a" * 16, tool="mail.send", lines=["to: a@example.org"], expires=at)
    call = JournalCall(id="1", tool="mail.send", state=CallState.WAITING, card=card)
    waiting = Journal(seq=2, boundary="0" * 16, steps=[Step(message={}, calls=[call])])
    turns = [
        Turn(seq=n, message_id=f"m{n}", user="u", text="?", reply_id=f"re:{n}:0", reply="!", at=at) for n in (1, 2)
    ]
    view = SessionView(cursor=2, turns=turns, suspended=[waiting])
    told = frames.history(Conversation("operator", "main"), view)
    assert "approval" not in told[0]
    assert told[1]["approval"]["id"] == "a" * 16

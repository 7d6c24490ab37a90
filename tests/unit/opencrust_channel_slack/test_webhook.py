"""The example of Slack's own documentation ("Verifying requests from Slack"), and everything that must not pass."""

import json
from urllib.parse import urlencode

import pytest

from opencrust.channel.adapter import WebhookRequest
from opencrust_channel_slack.webhook import envelope, verified

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BODY = (
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    "&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    "%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a1"
    "4d10d2c447fce8b6703c"
)
STAMP = "1531420618"
SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


def request(body: str = BODY, stamp: str = STAMP, signature: str = SIGNATURE, kind: str = "") -> WebhookRequest:
    headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": signature, "content-type": kind}
    return WebhookRequest("POST", "/slack/events", {}, headers, body.encode())


def at(seconds: float) -> float:
    return float(STAMP) + seconds


def test_slacks_own_example() -> None:
    assert verified(request(), SECRET, lambda: at(10))


@pytest.mark.parametrize(
    "forged",
    [
        request(body=BODY + "x"),
        request(stamp="1531420619"),
        request(signature="v0=00"),
        request(signature="ü"),
        request(signature=""),
        request(stamp=""),
        request(stamp="-1"),
        request(stamp="٣"),
    ],
)
def test_a_forgery(forged: WebhookRequest) -> None:
    assert not verified(forged, SECRET, lambda: at(10))


@pytest.mark.parametrize("seconds", [301, -301])
def test_a_replay(seconds: float) -> None:
    assert not verified(request(), SECRET, lambda: at(seconds))


def test_without_a_secret_nothing_passes() -> None:
    assert not verified(request(), "", lambda: at(10))


def test_envelopes() -> None:
    form = "application/x-www-form-urlencoded"
    pressed = urlencode({"payload": json.dumps({"type": "block_actions"})})
    assert envelope(request(kind=form)) is not None
    assert envelope(request(pressed, kind=form)) == ("interactive", {"type": "block_actions"})
    event = {"type": "event_callback", "event": {"type": "message"}}
    assert envelope(request(json.dumps(event))) == ("events_api", event)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", "7", '{"type": "event_callback"}', '{"event": 5}', "\ud800".encode("utf-8", "replace").decode()],
)
def test_odd_bodies_mean_nothing(body: str) -> None:
    assert envelope(request(body)) is None

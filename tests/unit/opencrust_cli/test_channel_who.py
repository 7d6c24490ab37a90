"""Whom the platforms say we are, what is missing, and what their other answers do not say about a token."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

import pytest

from opencrust_cli import channel_who
from opencrust_cli.channel_who import SLACK_SCOPES, Known
from opencrust_cli.errors import CommandError
from opencrust_sim import discord, slack, telegram

SECRETS = {"token": "canary-token", "bot_token": "xoxb-canary", "app_token": "xapp-canary"}
CHECKS: dict[str, Callable[[Any, str], Known]] = {
    "telegram": channel_who.telegram,
    "discord": channel_who.discord,
    "slack": channel_who.slack,
}


@contextmanager
def answering(*answers: tuple[int, object, dict[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers so, one after another; its address, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:  # an HTTPServer would look up its own name
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            serving.join()


async def test_the_simulators_say_who_the_bot_is() -> None:
    async with telegram.TelegramSimulator() as simulator:
        known = await asyncio.to_thread(channel_who.telegram, {"token": telegram.TOKEN}, simulator.url)
        assert (known.who, known.place) == (f"@{telegram.BOT_NAME}", f"https://t.me/{telegram.BOT_NAME}")
    async with discord.DiscordSimulator() as there:
        base = f"{there.url}/api/v10"
        known = await asyncio.to_thread(channel_who.discord, {"token": discord.TOKEN}, base)
        assert (known.who, known.place) == (f"crust, application {discord.BOT}", discord.BOT)
        with pytest.raises(CommandError, match="does not know this token"):
            await asyncio.to_thread(channel_who.discord, SECRETS, base)
    both = {"bot_token": slack.BOT_TOKEN, "app_token": slack.APP_TOKEN}
    async with slack.SlackSimulator() as home:
        for base in (f"{home.url}/api/", f"{home.url}/api"):
            assert (await asyncio.to_thread(channel_who.slack, both, base)).who == "crust in Home"
        with pytest.raises(CommandError, match="bot token"):
            await asyncio.to_thread(channel_who.slack, {**both, "bot_token": "xoxb-canary"}, base)
        with pytest.raises(CommandError, match="Socket Mode"):
            await asyncio.to_thread(channel_who.slack, {**both, "app_token": "xapp-canary"}, base)


@pytest.mark.parametrize("platform", CHECKS)
@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (429, {"ok": False}, {"Retry-After": "7"}, r"slower \(429\).*in 7 seconds"),
        (429, b"<html>", {}, r"slower \(429\).*a few minutes"),
        (500, {"message": "x"}, {}, r"fails at the moment \(500\)"),
        (502, b"<html>", {}, r"fails at the moment \(502\)"),
        (200, b"<html>", {}, "--api-base"),
        (200, [], {}, "--api-base"),
        (200, {}, {}, "--api-base|Slack answered 200"),
        (403, {"message": "no", "description": "no", "error": "no"}, {}, r"answered 403 \(no\)"),
        (301, b"", {"Location": "/elsewhere"}, "--api-base"),
        (308, b"", {"Location": "/elsewhere"}, "--api-base"),
    ],
)
def test_what_says_nothing_about_the_token_is_not_taken_for_it(
    platform: str, status: int, body: object, headers: dict[str, str], said: str
) -> None:
    with answering((status, body, headers)) as (base, asked):
        with pytest.raises(CommandError, match=said) as error:
            CHECKS[platform](SECRETS, base)
        assert "does not know" not in str(error.value)
        assert "canary" not in str(error.value)
    assert len(asked) == 1  # no redirect was followed with the token


@pytest.mark.parametrize(
    ("platform", "status", "body"),
    [
        ("telegram", 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}),
        ("telegram", 404, {"ok": False, "error_code": 404, "description": "Not Found"}),
        ("discord", 401, {"message": "401: Unauthorized", "code": 0}),
        ("slack", 200, {"ok": False, "error": "invalid_auth"}),
        ("slack", 200, {"ok": False, "error": "token_revoked"}),
    ],
)
def test_a_token_that_is_not_known_is_said_to_be(platform: str, status: int, body: object) -> None:
    with answering((status, body, {})) as (base, _), pytest.raises(CommandError, match="does not know th"):
        CHECKS[platform](SECRETS, base)


def test_a_bot_without_a_name_of_its_own() -> None:
    me = {"id": 5, "is_bot": True, "first_name": "Crust"}
    with answering((200, {"ok": True, "result": me}, {})) as (base, _):
        assert channel_who.telegram(SECRETS, base) == Known("Crust", "your bot in Telegram")
    with answering((200, {"ok": True, "result": {"id": 5}}, {})) as (base, _):
        assert channel_who.telegram(SECRETS, base).who == "bot 5"


@pytest.mark.parametrize(("reads", "hinted"), [(False, True), (True, False), (None, False)])
def test_telegrams_privacy_mode_is_a_hint(reads: bool | None, hinted: bool) -> None:
    me = {"id": 5, "username": "b", "can_read_all_group_messages": reads}
    with answering((200, {"ok": True, "result": me}, {})) as (base, _):
        assert any("/setprivacy" in hint for hint in channel_who.telegram(SECRETS, base).hints) is hinted


@pytest.mark.parametrize(
    ("answer", "hinted"),
    [
        ((200, {"id": "77", "flags": 0}, {}), True),
        ((200, {"id": "77", "flags": 1 << 18}, {}), False),
        ((200, {"id": "77", "flags": 1 << 19 | 1}, {}), False),
        ((200, {"id": "77"}, {}), False),
        ((404, {"message": "404: Not Found"}, {}), False),
        ((500, b"", {}), False),
    ],
)
def test_discords_message_content_intent_is_looked_at(answer: tuple[int, object, dict[str, str]], hinted: bool) -> None:
    with answering((200, {"id": "5", "username": "crust"}, {}), answer) as (base, asked):
        known = channel_who.discord(SECRETS, base)
    assert asked == ["/users/@me", "/applications/@me"]
    assert any("Message Content Intent is off" in hint for hint in known.hints) is hinted
    assert known.place == ("77" if answer[0] == 200 else "5")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (",".join(SLACK_SCOPES), []),
        (None, []),
        (", ".join(scope for scope in SLACK_SCOPES if scope not in ("im:history", "commands")), ["commands, im:hist"]),
    ],
)
def test_slacks_missing_scopes_are_named(given: str | None, missing: list[str]) -> None:
    headers = {} if given is None else {"X-OAuth-Scopes": given}
    with answering((200, {"ok": True, "user": "crust", "team": "Home"}, headers)) as (base, _):
        hints = channel_who.slack(SECRETS, base).hints
    assert len(hints) == len(missing)
    assert all(name in hint for name, hint in zip(missing, hints, strict=True))


def test_a_scope_that_slack_wants_is_named() -> None:
    refusal = {"ok": False, "error": "missing_scope", "needed": "connections:write", "provided": "none"}
    with (
        answering((200, {"ok": True, "user": "crust", "team": "Home"}, {}), (200, refusal, {})) as (base, _),
        pytest.raises(CommandError, match="missing_scope: it needs connections:write"),
    ):
        channel_who.slack(SECRETS, base)


def test_the_manifest_asks_for_exactly_these_scopes() -> None:
    text = (Path(__file__).parents[3] / "docs" / "channels.md").read_text()
    [listed] = re.findall(r"bot: \[([^\]]*)\]", text)
    assert sorted(re.split(r"[,\s]+", listed)) == sorted(SLACK_SCOPES)

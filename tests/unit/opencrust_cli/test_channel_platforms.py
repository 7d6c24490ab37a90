"""What is asked for, what it must look like, and whom the platforms' simulators say we are."""

import asyncio
import http.server
import threading
from collections.abc import Callable
from typing import Any

import pytest

from opencrust.config import ChannelMode
from opencrust_cli.channel_platforms import PLATFORMS, fits
from opencrust_cli.errors import CommandError
from simulators import discord, slack


def asked(platform: str, mode: ChannelMode = ChannelMode.POLL) -> list[str]:
    return [asked.key for asked in PLATFORMS[platform].asked(mode)]


def test_what_is_asked_depends_on_how_events_come() -> None:
    assert asked("discord") == ["token"]
    assert asked("slack") == ["bot_token", "app_token"]
    assert asked("slack", ChannelMode.WEBHOOK) == ["bot_token", "signing_secret"]


@pytest.mark.parametrize(
    ("platform", "key", "value", "right"),
    [
        ("discord", "token", "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs", True),
        ("discord", "token", "two words", False),
        ("slack", "bot_token", "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcBrzbqgy", True),
        ("slack", "bot_token", "xapp-1-A1-2-abc", False),
        ("slack", "app_token", "xapp-1-A1-2-abc", True),
        ("slack", "signing_secret", "8f742231b10e8888abcd99yyyzzz85a5", True),
    ],
)
def test_what_it_must_look_like(platform: str, key: str, value: str, right: bool) -> None:
    (one,) = (asked for asked in PLATFORMS[platform].asks if asked.key == key)
    assert fits(one, value) is right


async def checked(check: Callable[[Any, str], str], secrets: dict[str, str], base: str) -> str:
    return await asyncio.to_thread(check, secrets, base)


async def test_discord_says_who_the_bot_is() -> None:
    check = PLATFORMS["discord"].check
    async with discord.DiscordSimulator() as simulator:
        base = f"{simulator.url}/api/v10"
        assert await checked(check, {"token": discord.TOKEN}, base) == f"crust, application {discord.BOT}"
        with pytest.raises(CommandError, match="does not know this token"):
            await checked(check, {"token": "canary-token-123"}, base)


async def test_slack_says_who_the_bot_is() -> None:
    check = PLATFORMS["slack"].check
    both = {"bot_token": slack.BOT_TOKEN, "app_token": slack.APP_TOKEN}
    async with slack.SlackSimulator() as simulator:
        for base in (f"{simulator.url}/api/", f"{simulator.url}/api"):
            assert await checked(check, both, base) == "crust in Home"
        with pytest.raises(CommandError, match="bot token"):
            await checked(check, {**both, "bot_token": "xoxb-canary"}, base)
        with pytest.raises(CommandError, match="Socket Mode"):
            await checked(check, {**both, "app_token": "xapp-canary"}, base)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_token_follows_a_redirect(status: int) -> None:
    asked: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with pytest.raises(CommandError, match="is --api-base right"):
                PLATFORMS["discord"].check({"token": "secret"}, f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            serving.join()
    assert asked == ["/users/@me"]

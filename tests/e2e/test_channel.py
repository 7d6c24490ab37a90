"""A person adds Telegram to a running OpenCrust, is let in, chats, replaces the token, and removes it again; and tries
all channels without an account."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from channels import until
from house import House
from opencrust_cli.demo_channels import DEMOS
from opencrust_sim import discord, slack
from opencrust_sim.telegram import TOKEN, TelegramSimulator

MIB = 1024


async def test_telegram_from_the_token_to_the_last_answer(tmp_path: Path) -> None:
    async with TelegramSimulator() as telegram:
        with House(tmp_path / "home") as house:

            async def run(*arguments: str, stdin: str = "") -> str:
                return await asyncio.to_thread(house.run, *arguments, stdin=stdin)

            assert "channel-telegram" not in json.loads(await run("status", "--json"))["services"]
            added = await run("channels", "add", "telegram", "--api-base", telegram.url, stdin=f"{TOKEN}\n")
            assert "@crusty_bot" in added
            assert TOKEN not in added + (house.home / "config" / "config.json").read_text()
            tested = json.loads(await run("channels", "test", "telegram", "--json"))
            assert (tested["link"], tested["role"], tested["bot"]) == ("connected", "leader", "crusty_bot")

            # A stranger is offered a code; the operator lets him in.
            await telegram.say("hello?", chat=42, user=42, name="Ann")
            await until(lambda: len(telegram.texts(42)) == 1)
            [request] = json.loads(await run("pair", "list", "--json"))["requests"]
            await run("pair", "approve", request["id"], "--role", "operator")
            told = len(telegram.texts(42))
            await telegram.say("What are you?", chat=42, user=42, name="Ann")
            await until(lambda: len(telegram.texts(42)) > told, 60)

            status = json.loads(await run("status", "--json"))
            assert status["services"]["channel-telegram"]["ready"]
            print(f"the whole stack with one channel: {status['pss_kib'] / MIB:.0f} MiB PSS")

            # The doctor looks at it: what is well, what is weaker, and what waits.
            await telegram.push({"message": "no message"})
            await until(lambda: telegram.pending() == 0)
            findings = json.loads(await run("doctor", "--json"))["findings"]
            said = {finding["name"]: (finding["ok"], finding["detail"]) for finding in findings}
            assert said["telegram"] == (True, "connected as crusty_bot, 1 running")
            assert said["groups of telegram"][0] is None
            assert said["dead letters"] == (None, "1 wait: 1 of platform/channel-telegram")
            assert "telegram:" not in await run("status"), "nothing is wrong"

            # The token is replaced: connected again within five seconds, and nothing is lost.
            token = "987654321:another-token-of-no-real-bot-0123456789"
            telegram.rotate(token)
            await telegram.say("Are you there?", chat=42, user=42, name="Ann")
            told, polls = len(telegram.texts(42)), telegram.polls
            begin = time.monotonic()
            await run("vault", "rotate", "channel.telegram.token", "--stdin", stdin=token)
            await until(lambda: telegram.polls > polls + 1 and telegram.pending() == 0, 10)
            assert time.monotonic() - begin < 5
            await until(lambda: len(telegram.texts(42)) > told, 60)

            await run("channels", "remove", "telegram")
            await until(lambda: house.pid_of("channel-telegram") is None)
            logs = "".join(path.read_text() for path in (house.home / "log").glob("*.log"))
            assert token not in logs
            assert TOKEN not in logs


WRITES = {
    "telegram": {"chat": 1, "user": 1, "text": "hello"},
    "discord": {"channel": discord.DIRECT, "text": "hello"},
    "slack": {"channel": slack.DIRECT, "text": "hello"},
}


async def test_all_channels_can_be_tried_without_an_account(tmp_path: Path) -> None:
    with House(tmp_path / "home", "--demo-channels") as house:
        async with aiohttp.ClientSession() as session:
            for name, demo in DEMOS.items():
                url = f"http://127.0.0.1:{demo.port}"

                async def answers(url: str = url, name: str = name) -> int:
                    path = "messages" if name == "telegram" else "chat"
                    async with session.get(f"{url}/_sim/{path}") as answer:
                        found = await answer.json()
                    said = found.get("messages") or [line for line in found.get("lines", []) if line["who"] == "crust"]
                    return len(said)

                async with session.get(url) as page:
                    assert "You play the people who write to the bot" in await page.text()
                async with session.post(f"{url}/_sim/say", json=WRITES[name]) as answer:
                    assert answer.status == 200
                async with session.post(
                    f"{url}/_sim/say", json=WRITES[name], headers={"Origin": "https://else.where"}
                ) as answer:
                    assert answer.status == 403, "a page of somebody else's plays nobody here"

                async def answered(answers: Callable[[], Awaitable[int]] = answers) -> bool:
                    return await answers() == 1

                await until(answered, 20)
            requests = json.loads(await asyncio.to_thread(house.run, "pair", "list", "--json"))["requests"]
            assert len(requests) == 3
        status = json.loads(await asyncio.to_thread(house.run, "channels", "status", "--json"))
        assert {channel["name"] for channel in status["channels"]} == set(DEMOS)
        await asyncio.to_thread(house.run, "down")
        await asyncio.to_thread(house.up_plainly)
        assert json.loads(await asyncio.to_thread(house.run, "channels", "list", "--json")) == {"channels": []}

"""Tokens of Discord and Slack on every error path: never in a log, and the adapters log at debug here."""

import asyncio

from channels import ChannelHouse, until
from harness import BusServer
from opencrust_sim.discord import GENERAL, DiscordSimulator
from opencrust_sim.slack import DIRECT, SlackSimulator

CANARY = "canary0token0that0nobody0may0see"
KINDS = ("401", "403", "429", "500", "503", "html", "cut")


async def test_discords(bus_server: BusServer) -> None:
    async with DiscordSimulator() as discord:
        discord.token, discord.rate = CANARY, None
        settings = {"api_base": f"{discord.url}/api/v10", "options": {"gateway_url": f"ws://127.0.0.1:{discord.port}/"}}
        for kind in KINDS:
            discord.fault("GET *users/@me", kind, 1, after=0.1)
        async with ChannelHouse(bus_server, "discord", {"token": CANARY}, **settings) as house:
            adapter = house.adapter(start=False)
            discord.faults[0].times = 0  # a 401 is waited out for long; it comes below
            adapter.start()
            await house.agent(lambda message: f"re {message.text}")
            await until(lambda: discord.connected == 1, 60)
            for kind in KINDS:
                discord.fault("POST *messages", kind, 1, after=0.1)
            discord.fault("POST *callback", "500", 2)
            await discord.command("ask", {"text": "one"})
            for number in range(4):
                await discord.say(f"<@1000> {number}")
            await until(lambda: len([m for m in discord.channels[GENERAL].messages if m["author"].get("bot")]) >= 3, 60)
            await discord.gateway_do("close", 4000)
            await discord.gateway_do("invalid")
            discord.fault("GET *gateway/bot", "401")
            await discord.gateway_do("close", 4004)
            await asyncio.sleep(1)
            log = adapter.log.read_text()
            assert "not connected" in log  # the paths were taken
            assert CANARY not in log
            assert not any(found["token"] in log for found in discord.interactions.values())
            assert CANARY not in str(await house.health())
            assert CANARY not in str([receipt.reason for receipt in await house.receipts()])


async def test_slacks(bus_server: BusServer) -> None:
    bot, app = f"xoxb-{CANARY}", f"xapp-{CANARY}"
    async with SlackSimulator() as slack:
        slack.bot_token, slack.app_token = bot, app
        for kind in KINDS[2:]:
            slack.fault("POST *auth.test", kind, 1, after=1)
            slack.fault("POST *apps.connections.open", kind, 1, after=1)
        async with ChannelHouse(
            bus_server, "slack", {"bot_token": bot, "app_token": app}, api_base=f"{slack.url}/api/"
        ) as house:
            adapter = house.adapter()
            await house.agent(lambda message: f"re {message.text}")
            await until(lambda: len(slack.connections) == 2, 60)
            for kind in KINDS[2:]:
                slack.fault("POST *chat.postMessage", kind, 1, after=1)
            slack.fault("POST *conversations.history", "html", 2)
            for number in range(3):
                await slack.say(str(number), channel=DIRECT)
            await until(lambda: len(slack.shown()) >= 3, 60)
            slack.app_token = slack.bot_token = "xoxb-another"
            await slack.socket_do("cut")
            await slack.say("not answered", channel=DIRECT)
            await asyncio.sleep(1.5)
            log = adapter.log.read_text()
            assert "not connected" in log
            assert "does not know" in log
            assert CANARY not in log
            assert "ticket-" not in log
            assert CANARY not in str(await house.health())
            assert CANARY not in str([receipt.reason for receipt in await house.receipts()])

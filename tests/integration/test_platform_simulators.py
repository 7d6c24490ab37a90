"""The simulators of Discord and Slack, held by the platforms' own client libraries, unmodified."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import discord
import pytest
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from opencrust_sim.discord import DIRECT, GENERAL, TOKEN, DiscordSimulator
from opencrust_sim.slack import APP_TOKEN, BOT_TOKEN, SlackSimulator
from opencrust_sim.telegram import TOKEN as TELEGRAM_TOKEN
from opencrust_sim.telegram import lasting


async def until(true: Callable[[], Any], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


class Bot(discord.AutoShardedClient):
    """Answers what it reads."""

    def __init__(self) -> None:
        intents = discord.Intents.default()
        intents.message_content = True
        super().__init__(intents=intents, guild_ready_timeout=0.1)
        self.read: list[str] = []

    async def on_message(self, message: discord.Message) -> None:
        if not message.author.bot:
            self.read.append(message.content)
            if message.content == "hi":
                answer = await message.reply("hello")
                await answer.edit(content="hello!")


@pytest.fixture
async def bot(monkeypatch: pytest.MonkeyPatch) -> Any:
    async with DiscordSimulator() as simulator:
        monkeypatch.setattr(Route, "BASE", f"{simulator.url}/api/v10")
        monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(f"ws://127.0.0.1:{simulator.port}/"))
        client = Bot()
        running = asyncio.create_task(client.start(TOKEN))
        await until(lambda: client.is_ready() or running.done())
        yield client, simulator
        await client.close()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_discord_bot_reads_answers_and_edits(bot: tuple[Bot, DiscordSimulator]) -> None:
    client, simulator = bot
    await simulator.say("hi")
    await simulator.say("in private", channel=DIRECT)
    await until(lambda: len(simulator.channels[GENERAL].messages) == 2 and len(client.read) == 2)
    await until(lambda: simulator.channels[GENERAL].messages[-1]["content"] == "hello!")


@pytest.mark.parametrize("moment", ["reconnect", "cut", "invalid-resumable"])
async def test_discord_resumes_without_loss(bot: tuple[Bot, DiscordSimulator], moment: str) -> None:
    client, simulator = bot
    await simulator.say("one")
    await until(lambda: client.read == ["one"])
    await simulator.gateway_do(moment)
    await simulator.say("two")
    await until(lambda: client.read == ["one", "two"])
    assert simulator.resumes == 1


async def test_discord_waits_for_its_bucket_and_sees_a_429(bot: tuple[Bot, DiscordSimulator]) -> None:
    client, simulator = bot
    simulator.rate = (2, 0.5)
    channel = client.get_channel(int(GENERAL))
    assert isinstance(channel, discord.TextChannel)
    for number in range(4):
        await channel.send(str(number))
    simulator.rate = None
    simulator.fault("POST *messages", "429", after=0.2)
    await channel.send("after")
    assert [m["content"] for m in simulator.channels[GENERAL].messages] == ["0", "1", "2", "3", "after"]
    simulator.fault("POST *messages", "429", via=False)
    with pytest.raises(discord.HTTPException) as raised:
        await channel.send("x")
    assert raised.value.status == 429
    with pytest.raises(discord.HTTPException, match="50035"):
        await channel.send("x" * 2001)


async def test_discord_gives_the_first_message_again_for_the_same_nonce(bot: tuple[Bot, DiscordSimulator]) -> None:
    client, simulator = bot
    channel = client.get_channel(int(GENERAL))
    assert isinstance(channel, discord.TextChannel)
    first, second = await channel.send("x", nonce="key"), await channel.send("x", nonce="key")
    assert first.id == second.id
    assert len(simulator.channels[GENERAL].messages) == 1


async def test_a_slack_app_reads_acknowledges_and_answers() -> None:
    async with SlackSimulator() as simulator:
        web = AsyncWebClient(BOT_TOKEN, base_url=f"{simulator.url}/api/")
        app = AsyncWebClient(APP_TOKEN, base_url=f"{simulator.url}/api/")
        socket = SocketModeClient(APP_TOKEN, web_client=app, ping_interval=0.5)
        read: list[str] = []

        async def listen(client: Any, request: Any) -> None:
            read.append(request.payload["event"]["text"])
            await client.send_socket_mode_response(SocketModeResponse(request.envelope_id))

        socket.socket_mode_request_listeners.append(listen)  # type: ignore[arg-type]
        await socket.connect()
        try:
            await simulator.say("hi")
            await until(lambda: read == ["hi"] and simulator.deliveries[0].acked.is_set())
            await simulator.socket_do("refresh_requested")
            await simulator.say("again")
            await until(lambda: read == ["hi", "again"])
            await simulator.socket_do("silence")
            await until(lambda: any(not connection.silent for connection in simulator.connections))
            sent = await web.chat_postMessage(
                channel="C1", text="hello", metadata={"event_type": "a", "event_payload": {}}
            )
            await web.chat_update(channel="C1", ts=sent["ts"], text="hello!")
            history = await web.conversations_history(channel="C1", include_all_metadata=True)
            assert history["messages"][0]["text"] == "hello!"
            assert history["messages"][0]["metadata"]["event_type"] == "a"
            uploaded = await web.files_upload_v2(channel="C1", content=b"data", filename="a.txt")
            assert uploaded["files"][0]["size"] == 4
            stream = await web.chat_startStream(channel="C1", thread_ts=sent["ts"], markdown_text="a")
            await web.chat_appendStream(channel="C1", ts=stream["ts"], markdown_text="b")
            await web.chat_stopStream(channel="C1", ts=stream["ts"])
            assert simulator.channels["C1"][-1]["text"] == "ab"
            simulator.fault("*chat.postMessage", "429", after=1)
            with pytest.raises(SlackApiError, match="ratelimited"):
                await web.chat_postMessage(channel="C1", text="x")
        finally:
            await socket.close()


async def test_slack_brings_an_event_again_until_it_is_acknowledged() -> None:
    async with SlackSimulator() as simulator:
        simulator.ack_seconds, simulator.retry = 0.1, [0.0, 0.1]
        app = AsyncWebClient(APP_TOKEN, base_url=f"{simulator.url}/api/")
        socket = SocketModeClient(APP_TOKEN, web_client=app)
        seen: list[int] = []

        async def listen(client: Any, request: Any) -> None:
            seen.append(request.retry_attempt)
            if len(seen) == 3:
                await client.send_socket_mode_response(SocketModeResponse(request.envelope_id))

        socket.socket_mode_request_listeners.append(listen)  # type: ignore[arg-type]
        await socket.connect()
        await simulator.say("hi")
        await until(lambda: seen == [0, 1, 2] and simulator.deliveries[0].acked.is_set())
        await socket.close()


def test_slack_signs_as_its_library_verifies() -> None:
    simulator = SlackSimulator()
    headers = simulator.signed("body")
    verifier = SignatureVerifier(simulator.secret)
    stamp, signature = headers["X-Slack-Request-Timestamp"], headers["X-Slack-Signature"]
    assert verifier.is_valid("body", stamp, signature)
    assert not verifier.is_valid("other", stamp, signature)


async def test_telegrams_numbers_go_on_where_it_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = [await simulator.say(text) for simulator in [lasting(TELEGRAM_TOKEN)] for text in ("one", "two")]
    later = time.time() + 5
    monkeypatch.setattr("opencrust_sim.telegram.time.time", lambda: later)
    assert await lasting(TELEGRAM_TOKEN).say("after a restart") > max(earlier)

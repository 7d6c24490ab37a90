"""The model provider, the receiver of traces and the chat platforms, for services in containers: on all addresses.

python -m simulators.in_container      (tests/ on PYTHONPATH)
    model at :8900, OTLP and the query API at :4318, Telegram at :8901, Discord at :8911, Slack at :8912
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from opencrust_sim.discord import DiscordSimulator
from opencrust_sim.slack import SlackSimulator
from opencrust_sim.telegram import TelegramSimulator
from simulators.model import ModelSimulator
from simulators.otlp import OtlpReceiver

EVERYWHERE = "0.0.0.0"


async def relay(port: int, target: str) -> asyncio.Server:
    """Pass connections to ``port`` on to ``target``, the URL of a server on this machine's loopback."""
    to = urlsplit(target)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(to.hostname, to.port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    return await asyncio.start_server(connected, EVERYWHERE, port)


async def main() -> None:
    async with (
        ModelSimulator() as model,
        OtlpReceiver(4318, EVERYWHERE),
        TelegramSimulator() as telegram,
        DiscordSimulator() as discord,
        SlackSimulator() as slack,
        await relay(8900, model.url),
        await relay(8911, discord.url),
        await relay(8912, slack.url),
        await relay(8901, telegram.url),
    ):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

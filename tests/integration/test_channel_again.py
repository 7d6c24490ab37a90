"""The hole that the stream's ten minutes leave: killed after the publish, before the note, back later than that."""

import asyncio
from pathlib import Path

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.bus import Bus, subjects
from opencrust.bus.archive import Archive
from opencrust.config import Configuration, Provider, ProviderKind
from opencrust.contracts import OutboundMessage, decode, encode
from opencrust_dlq.desk import Desk
from opencrust_sim.telegram import TOKEN, TelegramSimulator
from simulators.conversation import Talk, agent, inbound
from simulators.model import ModelSimulator

WINDOW = 0.2


async def shorten_the_window(server: BusServer) -> None:
    """Make the stream forget ids after :data:`WINDOW` seconds instead of ten minutes."""
    manager = (await server.connect("provisioner")).jetstream_manager()
    config = (await manager.stream_info("MSG_IN")).config
    config.duplicate_window = WINDOW
    await manager.update_stream(config)


async def notes(bus: Bus) -> list[str]:
    """The keys of the notes in the ledger, in the order in which they were written."""
    info = await bus.jetstream_manager().stream_info("KV_ledger", subjects_filter="$KV.ledger.telegram.seen.>")
    return [subject.removeprefix("$KV.ledger.") for subject in info.state.subjects or {}]


async def test_killed_between_the_publish_and_the_note_and_back_after_the_window(
    bus_server: BusServer, tmp_path: Path
) -> None:
    async with TelegramSimulator() as telegram, ModelSimulator() as model:
        provider = Provider(name="sim", kind=ProviderKind.OPENAI, base_url=model.url, model="echo")
        provisioner = await bus_server.connect("provisioner")
        settings = {"api_base": telegram.url, "options": {"poll_seconds": 1}}
        async with ChannelHouse(bus_server, "telegram", {"token": TOKEN}, **settings) as house:
            for key, value in Configuration(providers=(provider,)).for_services().items():
                if not key.startswith("channel-"):
                    await provisioner.kv("cfg").put(key, value)
            await shorten_the_window(bus_server)
            adapter = await asyncio.to_thread(house.adapter)
            async with agent(bus_server, tmp_path):
                for text in ("first", "second", "third"):
                    await telegram.say(text, chat=7, user=7)
                await until(lambda: len(telegram.sent) == 3 and telegram.pending() == 0)
                keys = (await bus_server.connect("channel-telegram")).kv("ledger")
                await asyncio.to_thread(adapter.kill)
                for key in await notes(provisioner):  # as a kill leaves them that came before the second note
                    await keys.put(key, b"0")
                await asyncio.sleep(2 * WINDOW)
                await asyncio.to_thread(adapter.start)
                await telegram.again()
                await telegram.say("fourth", chat=7, user=7)
                await until(lambda: len(telegram.sent) == 4 and telegram.pending() == 0, 20)
                received = await house.received()
                assert [m.text for m in received] == ["first", "second", "third"] * 2 + ["fourth"], (
                    "the window was not passed: this test shows nothing"
                )
                assert [m.again for m in received] == [False] * 3 + [True] * 3 + [False]
                await asyncio.sleep(0.5)
                assert len(telegram.sent) == 4, "a person was answered twice"
                archive, replies, after = Archive(provisioner, "CONVLOG"), [], 0
                while (stored := await archive.after(after)) is not None:
                    after = stored.seq
                    replies.append(decode(OutboundMessage, stored.data).in_reply_to)
                assert len(set(replies)) == len(replies) == 4


async def test_what_an_operator_sends_again_is_answered_although_it_was_here(
    bus_server: BusServer, tmp_path: Path
) -> None:
    """A redriven dead letter that is marked ``again`` is wanted: it is not looked for."""
    async with ModelSimulator() as model:
        provider = Provider(name="sim", kind=ProviderKind.OPENAI, base_url=model.url, model="echo")
        provisioner = await bus_server.connect("provisioner")
        for key, value in Configuration(providers=(provider,)).for_services().items():
            await provisioner.kv("cfg").put(key, value)
        await Desk(await bus_server.connect("dlq")).start()
        talk = Talk(await bus_server.connect("gateway"))
        await talk.start()
        marked = inbound(1, "once").model_copy(update={"again": True})
        async with agent(bus_server, tmp_path):
            await talk.say(marked)
            await talk.hear()
            dlq = await bus_server.connect("dlq")
            await dlq.publish_stored(subjects.msg_in("web", marked.key), encode(marked), message_id="redrive:1")
            assert (await talk.hear()).in_reply_to == marked.id

"""The Telegram channel as a process, on a real bus with a real vault, against a simulated Bot API."""

import asyncio
import functools
import hashlib
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from channels import ChannelHouse, until
from harness import BusServer, free_port
from opencrust.bus import subjects
from opencrust.bus.archive import Archive
from opencrust.bus.blobs import Blobs
from opencrust.config import ChannelMode, Webhook
from opencrust.contracts import (
    ApprovalCard,
    Attachment,
    CardDecided,
    CardOutcome,
    EventType,
    InboundMessage,
    TurnEvent,
    encode,
)
from opencrust.contracts.messages import now
from opencrust_dlq.desk import Desk
from opencrust_sim.telegram import BOT_ID, BOT_NAME, TOKEN, TelegramSimulator

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
CARD = "abcdefgh234567ab"


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramSimulator]:
    async with TelegramSimulator() as simulator:
        yield simulator


@pytest.fixture
async def house(bus_server: BusServer, telegram: TelegramSimulator) -> AsyncIterator[ChannelHouse]:
    async with ChannelHouse(
        bus_server, "telegram", {"token": TOKEN}, api_base=telegram.url, options={"poll_seconds": 1}
    ) as house:
        yield house


def echo(message: InboundMessage) -> str:
    return f"You wrote: {message.text}"


async def test_a_message_comes_in_and_its_answer_goes_out(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    ready = house.adapter(start=False).start()
    assert ready < 6
    await house.agent(echo)
    await telegram.say("Hello, *you*", chat=7, user=7, name="Ann")
    await until(lambda: len(telegram.sent) == 1)
    assert telegram.texts(7) == ["You wrote: Hello, you"]
    [message] = await house.received()
    assert (message.account, message.conversation, message.sender.user) == (str(BOT_ID), "7", "7")
    assert message.sender.display_name == "Ann"
    assert message.trust == "guest"
    await until(lambda: telegram.pending() == 0)
    [receipt] = await house.receipts()
    assert (receipt.state, receipt.platform_id, receipt.attempts) == ("sent", str(telegram.sent[0].id), 1)
    [facts] = await house.health()
    assert facts["role"] == "leader"
    assert facts["link"] == "connected"
    assert facts["bot"] == BOT_NAME


async def heard(house: ChannelHouse, count: int) -> list[InboundMessage]:
    """The first ``count`` messages that came to the agent."""

    async def enough() -> bool:
        return len(await house.received()) >= count

    await until(enough)
    return await house.received()


async def test_groups_topics_and_who_is_meant(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("just talking", chat=-100, user=7)
    await telegram.say("\N{PILE OF POO} @crusty_bot what is this?", chat=-100, user=7)
    await telegram.say("/status@crusty_bot", chat=-100, user=7, thread=5)
    await telegram.say("/status@other_bot", chat=-100, user=7)
    first, second = await heard(house, 2)
    assert first.text.endswith("@crusty_bot what is this?")
    assert first.is_group
    assert (second.text, second.thread) == ("/status", "5")
    assert first.key != second.key
    await house.reply(first, "a thing", id="re:1:0")
    await house.reply(second, "fine", id="re:2:0")
    await until(lambda: len(telegram.sent) == 2)
    by_text = {sent.now: sent for sent in telegram.sent}
    assert by_text["a thing"].parameters["reply_parameters"]["message_id"] == int(first.reply_to.message or 0)
    assert by_text["fine"].parameters["message_thread_id"] == 5
    # An answer to the bot's own message means the bot.
    await telegram.say("and that?", chat=-100, user=7, reply_to=by_text["a thing"].id)
    assert (await heard(house, 3))[2].quoted == str(by_text["a thing"].id)
    await until(lambda: telegram.pending() == 0)
    assert len(await house.received()) == 3


async def test_files_in_and_out(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("look", chat=7, user=7, files={"photo": PNG})
    await telegram.say("", chat=7, user=7, files={"voice": b"OggS" + bytes(100)})
    await telegram.say("a big one", chat=7, user=7, files={"document": bytes(20 * 1024 * 1024 + 1)})
    photo, voice, big = await heard(house, 3)
    assert (photo.text, voice.text) == ("look", "")
    [attachment] = photo.attachments
    # It came as a JPEG by its name, and is none: it is kept, and no browser is told that it is a picture.
    assert (attachment.media_type, attachment.size) == ("application/octet-stream", len(PNG))
    assert attachment.sha256 == hashlib.sha256(PNG).hexdigest()
    assert voice.attachments[0].name == "voice.ogg"
    assert "was not taken" in big.text
    assert not big.attachments
    blobs = Blobs(house.bus, "MEDIA", functools.partial(subjects.media, "telegram"))
    assert await blobs.get(attachment.sha256, limit=10**6) == PNG
    await house.reply(photo, "here it is", id="re:1:0", attachments=[attachment.model_copy(update={"name": "a.png"})])
    await until(lambda: len(telegram.sent) == 2)
    assert [sent.method for sent in telegram.sent] == ["sendmessage", "senddocument"]
    assert telegram.sent[1].file == PNG
    gone = Attachment(name="gone.bin", media_type="application/zip", size=3, sha256="0" * 64)
    await house.reply(photo, "", id="re:2:0", attachments=[gone])
    await until(lambda: _state(house, "re:2:0", "failed"))


async def _state(house: ChannelHouse, reply: str, state: str) -> bool:
    return any(receipt.reply_id == reply and receipt.state == state for receipt in await house.receipts())


async def test_a_question_has_two_buttons_and_a_press_is_its_pressers_word(
    house: ChannelHouse, telegram: TelegramSimulator
) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("buy it", chat=-100, user=7, name="Ann")
    await telegram.say("@crusty_bot buy it", chat=-100, user=7, name="Ann")
    [message] = await heard(house, 1)
    expires = now() + timedelta(minutes=5)
    card = ApprovalCard(id=CARD, tool="shop", lines=["buy <b>bread</b> & *milk*", "@everyone"], expires=expires)
    await house.reply(message, "I need your word.", id="re:1:0", approval=card)
    await until(lambda: len(telegram.sent) == 2)
    words, asked = telegram.texts(-100)
    assert words == "I need your word."
    shown = asked.replace("\N{WORD JOINER}", "")
    assert "buy <b>bread</b> & *milk*" in shown
    assert "@everyone" in shown
    assert "@everyone" not in asked, "it calls nobody"
    assert f"/approve {CARD}" in asked
    await telegram.press(telegram.sent[1].id, 0, user=8)
    pressed = (await heard(house, 2))[1]
    assert (pressed.text, pressed.sender.user, pressed.key) == (f"/approve {CARD}", "8", message.key)
    await until(lambda: len(telegram.answered_presses) == 1)
    outcome = CardDecided(card=card, outcome=CardOutcome.APPROVED, where="on the web page")
    for _ in range(2):  # told again, it changes nothing
        await house.reply(message, "", id="card:1", decided=outcome)
    await until(lambda: telegram.sent[1].now.endswith("Approved on the web page."))
    assert "buy &lt;b&gt;bread" in telegram.sent[1].now
    assert telegram.sent[1].parameters["reply_markup"] is None
    await until(lambda: _nothing_waits(house))
    assert len(telegram.sent) == 2


async def _nothing_waits(house: ChannelHouse) -> bool:
    return await house.waiting() == 0


async def test_a_long_answer_comes_in_parts_and_what_is_refused_is_a_dead_letter(
    house: ChannelHouse, telegram: TelegramSimulator
) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("tell me all", chat=7, user=7)
    [message] = await heard(house, 1)
    text = "\n\n".join(f"**{n}** " + "\N{GRINNING FACE}" * 300 for n in range(20))
    await house.reply(message, text, id="re:1:0")
    await until(lambda: _state(house, "re:1:0", "sent"))
    await until(lambda: sum(t.count("\N{GRINNING FACE}") for t in telegram.texts(7)) == 6000)
    assert len(telegram.sent) >= 3
    receipts = [receipt for receipt in await house.receipts() if receipt.reply_id == "re:1:0"]
    assert [receipt.part for receipt in receipts] == list(range(receipts[0].parts))
    # Markup that Telegram refuses goes without it.
    telegram.fault("sendMessage", "parse")
    await house.reply(message, "**bold** & <plain>", id="re:2:0")
    await until(lambda: _state(house, "re:2:0", "sent"))
    assert telegram.sent[-1].now == "bold & <plain>"
    # Stale before it could be sent.
    await house.reply(message, "old", id="re:3:0", created_time=now() - timedelta(hours=25))
    await until(lambda: _state(house, "re:3:0", "failed"))
    # A group that moved; a person who blocked the bot.
    telegram.fault("sendMessage", "migrate")
    await house.reply(message, "moved", id="re:4:0")
    await until(lambda: telegram.texts(-100500) == ["moved"])
    telegram.fault("sendMessage", "blocked")
    await house.reply(message, "are you there", id="re:5:0")
    await until(lambda: _state(house, "re:5:0", "failed"))
    letters = await Archive(await house.server.connect("dlq"), "DLQ").subjects()
    assert sum(letters.values()) == 1
    assert "old" not in telegram.texts()


async def test_stop_drops_what_is_not_sent_yet(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    await asyncio.to_thread(house.adapter)
    stops: list[str] = []

    async def heard_stop(message: Any) -> None:
        stops.append(subjects.last_token(message.subject))

    await house.bus.subscribe(subjects.wildcard(subjects.CTL_STOP, channel="telegram"), heard_stop)
    await telegram.say("write a novel", chat=7, user=7)
    [message] = await heard(house, 1)
    telegram.fault("sendMessage", "429", retry_after=3)
    await house.reply(message, "Chapter 1", id="re:1:0")
    await until(lambda: any(entry["fault"] == "429" for entry in telegram.journal))
    await telegram.say("/stop", chat=7, user=7)
    await until(lambda: stops == [message.key])
    await until(lambda: _state(house, "re:1:0", "failed"))
    assert telegram.sent == []
    assert len(await house.received()) == 1, "the agent's turn ends by the signal; the words do not reach it"
    await house.reply(message, "Stopped.", id="re:2:0")
    await until(lambda: telegram.texts(7) == ["Stopped."])


async def turn(house: ChannelHouse, message: InboundMessage, *events: tuple[EventType, str]) -> None:
    """Live events of one turn."""
    for index, (kind, text) in enumerate(events):
        event = TurnEvent(type=kind, message_id=message.id, index=index, text=text)
        await house.bus.publish(subjects.evt_conv("telegram", message.key), encode(event))


async def test_a_running_answer_is_shown(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("hi", chat=7, user=7)
    [private] = await heard(house, 1)
    await until(lambda: telegram.pending() == 0)  # the channel knows that it stored it
    await turn(house, private, (EventType.STARTED, ""))
    await until(lambda: any(entry["method"] == "sendchataction" for entry in telegram.journal))
    await turn(house, private, (EventType.DELTA, "Once **upon"))
    await until(lambda: len(telegram.drafts) == 1)
    assert telegram.drafts[0]["chat_id"] == 7
    await house.reply(private, "Once **upon** a time", id="re:1:0")
    await until(lambda: telegram.texts(7) == ["Once upon a time"])
    # In a group a message grows, and the reply is its last edit.
    await telegram.say("@crusty_bot hi", chat=-100, user=7)
    group = (await heard(house, 2))[1]
    await until(lambda: telegram.pending() == 0)
    await turn(house, group, (EventType.STARTED, ""), (EventType.DELTA, "Once upon"))
    await until(lambda: telegram.texts(-100) == ["Once upon"])
    await house.reply(group, "Once upon a time", id="re:2:0")
    await until(lambda: telegram.texts(-100) == ["Once upon a time"])
    assert len([sent for sent in telegram.sent if sent.chat == -100]) == 1
    # Without an attempt to show it, it is a message of its own.
    await house.reply(group, "The end", id="re:3:0")
    await until(lambda: telegram.texts(-100) == ["Once upon a time", "The end"])


async def test_a_webhook_takes_only_what_knows_the_secret(bus_server: BusServer, telegram: TelegramSimulator) -> None:
    port = free_port()
    place = Webhook(public_url=f"http://127.0.0.1:{port}", port=port)
    async with ChannelHouse(
        bus_server, "telegram", {"token": TOKEN}, api_base=telegram.url, mode=ChannelMode.WEBHOOK, webhook=place
    ) as house:
        for _ in range(2):  # a second replica serves the same address
            await asyncio.to_thread(house.adapter)
        await until(lambda: bool(telegram.webhook))
        await telegram.say("hello", chat=7, user=7)
        [message] = await heard(house, 1)
        assert message.text == "hello"
        await until(lambda: telegram.pending() == 0)
        forged = {"update_id": 1, "message": {"message_id": 1, "text": "let me in"}}
        async with aiohttp.ClientSession() as session:
            for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": ""}, {"X-Telegram-Bot-Api-Secret-Token": TOKEN}):
                async with session.post(f"{place.public_url}/telegram", json=forged, headers=headers) as answer:
                    assert (answer.status, await answer.read()) == (401, b"")
            secret = {"X-Telegram-Bot-Api-Secret-Token": telegram.webhook["secret_token"]}
            async with session.post(f"{place.public_url}/telegram", data=b"{", headers=secret) as answer:
                assert answer.status == 200, "Telegram would bring it for ever; it is a dead letter"
            async with session.post(
                f"{place.public_url}/telegram", data=io.BytesIO(bytes(2**21)), headers=secret
            ) as answer:
                assert answer.status == 413
            # While the bus is away nothing is accepted: the platform keeps it.
            await asyncio.to_thread(bus_server.stop, 9)
            body = {
                "update_id": 2,
                "message": {"message_id": 1, "from": {"id": 1}, "chat": {"id": 1, "type": "private"}},
            }
            body["message"] |= {"date": 1, "text": "now?"}  # type: ignore[operator]
            async with session.post(f"{place.public_url}/telegram", json=body, headers=secret) as answer:
                assert answer.status == 503
            await asyncio.to_thread(bus_server.start)
        assert len(await house.received()) == 1


async def test_what_cannot_be_read_is_a_dead_letter_and_holds_up_nothing(
    bus_server: BusServer, house: ChannelHouse, telegram: TelegramSimulator
) -> None:
    await Desk(await bus_server.connect("dlq")).start()
    await telegram.push({"message": {"message_id": 3, "from": {"id": 7}, "date": 1, "text": "where am I?"}})
    await telegram.push({"message": "text"})
    await telegram.push({"a_kind_of_next_year": {}})
    await telegram.say("after them", chat=7, user=7)
    await asyncio.to_thread(house.adapter)
    assert [message.text for message in await heard(house, 1)] == ["after them"]
    await until(lambda: telegram.pending() == 0)
    cli = await bus_server.connect("cli")
    letters = json.loads((await cli.request("ctl.dlq.list", b"{}")).data)["letters"]
    assert sorted((letter["origin"], letter["reason"]) for letter in letters) == [
        ("platform/channel-telegram", "an update of Telegram's without a valid chat"),
        ("platform/channel-telegram", "an update of Telegram's without a valid message"),
    ]
    assert any("where am I?" in letter["preview"] for letter in letters)
    number = json.dumps({"seq": letters[0]["seq"]}).encode()
    answer = json.loads((await cli.request("ctl.dlq.redrive", number)).data)
    assert "in a form that cannot be read" in answer["error"]
    [facts] = await house.health()
    assert (facts["in_buried"], facts["updates_malformed"], facts["updates_ignored"]) == (2, 2, 1)


async def test_a_webhook_of_somebody_else_is_removed_and_said(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    telegram.webhook = {"url": "https://elsewhere.example"}
    await telegram.say("hello", chat=7, user=7)
    await asyncio.to_thread(house.adapter)
    await heard(house, 1)
    [facts] = await house.health()
    assert (facts["updates_webhook_removed"], facts["reads_all_of_groups"]) == (1, False)


async def test_numbers_of_updates_that_begin_anew_lower_are_heard(
    house: ChannelHouse, telegram: TelegramSimulator
) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("before", chat=7, user=7)
    await heard(house, 1)
    polls = telegram.polls
    await until(lambda: telegram.polls > polls + 2)
    telegram._next_update = 5
    await telegram.say("after a week", chat=7, user=7)
    assert [message.text for message in await heard(house, 2)] == ["before", "after a week"]


async def test_formatting_that_telegram_refuses_goes_out_plain_as_edit_and_draft_too(
    house: ChannelHouse, telegram: TelegramSimulator
) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("@crusty_bot hi", chat=-100, user=7)
    [group] = await heard(house, 1)
    await until(lambda: telegram.pending() == 0)
    await turn(house, group, (EventType.STARTED, ""), (EventType.DELTA, "**Once** upon"))
    await until(lambda: telegram.texts(-100) == ["Once upon"])
    telegram.fault("editMessageText", "parse", 1)
    await house.reply(group, "**Once** upon a time", id="re:1:0")
    await until(lambda: _state(house, "re:1:0", "sent"))
    assert [sent.now for sent in telegram.sent] == ["Once upon a time"], "the last edit, without its markup"
    await telegram.say("hi", chat=7, user=7)
    private = (await heard(house, 2))[1]
    await until(lambda: telegram.pending() == 0)
    telegram.fault("sendMessageDraft", "parse", 1)
    await turn(house, private, (EventType.STARTED, ""), (EventType.DELTA, "**Two** words"))
    await until(lambda: len(telegram.drafts) == 1)
    assert telegram.drafts[0]["text"] == "Two words"


async def test_without_drafts_an_answer_grows_as_a_message_whose_end_cannot_be_doubled(
    bus_server: BusServer, telegram: TelegramSimulator
) -> None:
    options = {"poll_seconds": 1, "drafts": False}
    async with ChannelHouse(bus_server, "telegram", {"token": TOKEN}, api_base=telegram.url, options=options) as house:
        await asyncio.to_thread(house.adapter)
        await telegram.say("hi", chat=7, user=7)
        [private] = await heard(house, 1)
        await until(lambda: telegram.pending() == 0)
        await turn(house, private, (EventType.STARTED, ""), (EventType.DELTA, "Once upon"))
        await until(lambda: telegram.texts(7) == ["Once upon"])
        telegram.fault("editMessageText", "cut_after_accept")
        await house.reply(private, "Once upon a time", id="re:1:0")
        await until(lambda: _state(house, "re:1:0", "sent"))
        assert telegram.texts(7) == ["Once upon a time"]
        assert telegram.drafts == []


async def test_a_topic_that_is_gone_is_answered_in_its_group(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("@crusty_bot hi", chat=-100, user=7, thread=5)
    [message] = await heard(house, 1)
    telegram.fault("sendMessage", "thread_not_found")
    await house.reply(message, "here", id="re:1:0")
    await until(lambda: _state(house, "re:1:0", "sent"))
    assert [(sent.chat, "message_thread_id" in sent.parameters) for sent in telegram.sent] == [(-100, False)]


async def test_a_file_follows_a_group_that_moved(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    await asyncio.to_thread(house.adapter)
    await telegram.say("@crusty_bot hi", chat=-100, user=7, files={"photo": PNG})
    [message] = await heard(house, 1)
    telegram.fault("sendDocument", "migrate")
    await house.reply(message, "", id="re:1:0", attachments=[_named(message.attachments[0], "a.bin")])
    await until(lambda: _state(house, "re:1:0", "sent"))
    assert [(sent.chat, sent.file) for sent in telegram.sent] == [(-100500, PNG)]


def _named(attachment: Attachment, name: str) -> Attachment:
    return attachment.model_copy(update={"name": name, "media_type": "application/octet-stream"})


async def test_connected_but_deaf_is_said_and_mended(bus_server: BusServer, telegram: TelegramSimulator) -> None:
    async with ChannelHouse(
        bus_server, "telegram", {"token": TOKEN}, api_base=telegram.url, options={"poll_seconds": 0}
    ) as house:
        await asyncio.to_thread(house.adapter)
        await until(lambda: telegram.polls > 1)
        telegram.fault("getUpdates", "stall", times=1)
        await until(lambda: any(entry["fault"] == "stall" for entry in telegram.journal))
        await telegram.say("can you hear me?", chat=7, user=7)

        async def noticed() -> bool:
            return any(facts["deaf_times"] == 1 for facts in await house.health())

        assert await until(noticed, 12) < 8  # two pulses of three seconds
        await heard(house, 1)
        [facts] = await house.health()
        assert facts["link"] == "connected"


async def test_the_token_is_said_nowhere_whatever_fails(bus_server: BusServer) -> None:
    canary = "canary-that-has-no-tokens-shape"  # so no pattern hides it: it must not be said at all
    async with TelegramSimulator(tokens={canary: BOT_ID}) as telegram:
        options: dict[str, Any] = {"poll_seconds": 0}
        async with ChannelHouse(
            bus_server, "telegram", {"token": canary}, api_base=telegram.url, options=options
        ) as house:
            adapter = await asyncio.to_thread(house.adapter)
            await house.agent(echo)
            for method in ("sendMessage", "getFile", "file", "getUpdates", "sendChatAction"):
                for kind in ("429", "500", "html502", "cut", "cut_after_accept"):
                    telegram.fault(method, kind, retry_after=0.1)
            telegram.fault("sendMessage", "unauthorized")
            for n in range(12):
                await telegram.say(f"{n}", chat=n + 1, user=7, files={"photo": PNG})
            await telegram.push({"message": {"from": canary}})
            await until(lambda: len(telegram.sent) >= 3, 20)
            telegram.tokens = {}
            await asyncio.sleep(0.5)
            health = await house.health()
            receipts = await house.receipts()
            await telegram.stop()
            await asyncio.sleep(1.0)
            adapter.kill(15)
            assert canary not in adapter.log.read_text()
            assert canary not in repr(health) + repr(receipts) + repr(await house.received())
            assert "Telegram" in adapter.log.read_text(), "it did say what failed"

"""The long poll. The offset moves only past updates that the bus has."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from opencrust.channel.adapter import LinkError
from opencrust.channel.link import Link
from opencrust_channel_telegram.api import Answer, BotApi, NoAnswer, stoppable
from opencrust_channel_telegram.results import link_error
from opencrust_channel_telegram.updates import MalformedUpdate, chat_of, update_id

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Chats of one batch that are handed over side by side: a file that one sent does not hold up the others."""
BATCH: Final = 100
UNCONFIRMED_PAUSE: Final = 1.0
HASTE: Final = 0.25
"""An empty answer that comes sooner than this comes from a server that does not wait: we wait ourselves."""

Take = Callable[[Any], Awaitable[None]]
"""Takes one update over; raises where it is not stored."""


async def poll(
    api: BotApi,
    link: Link,
    take: Take,
    stop: asyncio.Event,
    *,
    seconds: int,
    allowed: list[str],
    webhook_removed: Callable[[], None],
) -> None:
    """Poll until ``stop``.

    Args:
        seconds: how long a poll waits for something to come. There is no other time limit on it: a poll that never
            answers is the link's to notice.
        webhook_removed: told when somebody had set a webhook, and it was removed.

    Raises:
        LinkError: Telegram refused, or the connection broke.
        BusError: an update was not stored. It was not confirmed, so it comes again.
    """
    offset: int | None = None
    last: int | None = None
    replays = False
    waiting = 0  # the first answer comes at once, and shows that the link stands
    while not stop.is_set():
        parameters: dict[str, object] = {"timeout": waiting, "limit": BATCH, "allowed_updates": allowed}
        if offset is not None:
            parameters["offset"] = offset
        asked = time.monotonic()
        answer = await _ask(api, parameters, stop)
        if answer is None:
            return
        if answer.code == 409 and "webhook" in answer.description:
            log.warning("a webhook is set for this bot: it is removed, since this channel polls")
            await _remove_webhook(api)
            webhook_removed()
            continue
        if not answer.ok:
            if answer.code == 429:
                link.limited()
            raise link_error(answer)
        link.alive()
        hasty = waiting > 0 and time.monotonic() - asked < HASTE
        waiting = seconds
        updates = answer.result if isinstance(answer.result, list) else []
        if updates:
            await hand_over(updates, take)
            numbers = _numbers(updates)
            again = last is not None and last in numbers
            replays = replays or again  # this server does not forget what is confirmed
            if not numbers or (again and max(numbers) == last):  # nothing new that could be confirmed
                await asyncio.sleep(UNCONFIRMED_PAUSE)
            if numbers:
                last = max(numbers)
                offset = last + 1
        else:
            if not replays:
                offset = None  # all before it is confirmed; numbers may begin anew, lower, after a week of silence
            if hasty:
                await asyncio.sleep(HASTE)


async def _remove_webhook(api: BotApi) -> None:
    try:
        answer = await api.call("deleteWebhook")
    except NoAnswer as error:
        raise LinkError(str(error)) from None
    if not answer.ok:
        raise link_error(answer)


async def _ask(api: BotApi, parameters: dict[str, object], stop: asyncio.Event) -> Answer | None:
    try:
        return await stoppable(api.call("getUpdates", parameters, timeout=None), stop)
    except NoAnswer as error:
        raise LinkError(str(error)) from None


async def hand_over(updates: list[Any], take: Take) -> None:
    """Hand all updates over: those of one chat in their order, chats side by side.

    Raises:
        Exception: of the first that failed, after all others have ended.
    """
    chats: dict[int, list[Any]] = {}
    for update in updates:
        chats.setdefault(_chat(update), []).append(update)
    room = asyncio.Semaphore(AT_ONCE)

    async def in_order(chat: list[Any]) -> None:
        async with room:
            for update in chat:
                await take(update)

    results = await asyncio.gather(*map(in_order, chats.values()), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _chat(update: Any) -> int:
    try:
        return chat_of(update)
    except MalformedUpdate:
        return 0


def _numbers(updates: list[Any]) -> list[int]:
    found = []
    for update in updates:
        try:
            found.append(update_id(update))
        except MalformedUpdate:
            continue
    return found

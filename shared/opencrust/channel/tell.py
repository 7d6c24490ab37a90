"""Saying what no agent said: a pairing code, a notice. It has no ledger: lost, it is asked for again."""

import asyncio
import logging
import secrets
from typing import Final

from opencrust.channel.adapter import ChannelAdapter, OutPart, Retry, Sent
from opencrust.channel.limits import Limits
from opencrust.contracts import ReplyAddress

log = logging.getLogger(__name__)

TRIES: Final = 3
LONGEST_WAIT: Final = 10.0


class Teller:
    """An adapter's own words."""

    def __init__(self, adapter: ChannelAdapter, limits: Limits) -> None:
        self._adapter = adapter
        self._limits = limits

    async def tell(self, address: ReplyAddress, text: str) -> None:
        """Send ``text`` (Markdown); give up after a few refusals, with a line in the log."""
        for number, piece in enumerate(self._adapter.compose(text)):
            part = OutPart(key=secrets.token_hex(12), address=address, number=number, text=piece)
            for _ in range(TRIES):
                await asyncio.sleep(min(self._limits.reserve(address.key), LONGEST_WAIT))
                try:
                    result = await self._adapter.send(part)
                except Exception as error:  # noqa: BLE001 - an adapter's fault; its text may hold a token
                    log.warning("something could not be told: %s", type(error).__name__)
                    return
                if isinstance(result, Retry) and result.after <= LONGEST_WAIT:
                    self._limits.pause(address.key, result.after, everywhere=result.everywhere)
                    continue
                if not isinstance(result, Sent):
                    log.warning("something could not be told: %s", result.reason)
                break

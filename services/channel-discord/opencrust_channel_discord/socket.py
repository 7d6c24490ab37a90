"""A connection to the gateway as discord.py may read it, whatever the server writes.

discord.py ends the whole client at a frame that lacks a field, and resumes for ever a session that the server closes
with "begin a new one". So its socket is ours: it takes the bytes apart, hands each frame to the listener once, and
gives discord.py the few fields that keep a link (opcode, sequence, session), with what is missing filled in. What
cannot be read is handed on as such and kept from it.

Sources: "Gateway", "Gateway Events" and "Opcodes and Status Codes" of API v10's documentation.
"""

import json
import logging
import zlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiohttp import WSMessage, WSMsgType
from discord.gateway import DiscordClientWebSocketResponse

log = logging.getLogger(__name__)

DISPATCH: Final = 0
INVALID_SESSION: Final = 9
HELLO: Final = 10
DEFAULT_RESUME: Final = "wss://gateway.discord.gg"
"""Where a READY without an address lets us resume: where we began (the client replaces it by the configured one)."""
DEFAULT_INTERVAL: Final = 41_250
SHORTEST_INTERVAL: Final = 100
BEGIN_ANEW: Final = frozenset({4003, 4007, 4009})
"""Codes of a close after which no session can be resumed: not authenticated, invalid sequence, timed out."""
MAX_FRAME: Final = 32 * 1024 * 1024
"""Bytes of one frame, unpacked. A guild of 100,000 members with everything in it has a tenth of it."""
_FLUSHED: Final = b"\x00\x00\xff\xff"
_ENDS: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class Listening(Protocol):
    """What is told of a connection. Nothing in it may wait, or raise."""

    def frame(self, frame: Mapping[str, Any]) -> None:
        """One frame, as it came."""

    def unreadable(self, text: str, reason: str) -> None:
        """Something that is no frame."""

    def ended(self, *, heard: bool) -> None:
        """The connection is over; ``heard``: it brought an event."""


class Unpacker:
    """Bytes to JSON texts: a zlib stream over all messages (``compress=zlib-stream``), or each packed for itself (what
    ``compress`` of IDENTIFY asks for), however the server cuts them."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj()
        self._text = bytearray()

    def feed(self, data: bytes) -> str | None:
        """The text that is whole now; None: more belongs to it.

        Raises:
            ValueError: no zlib, no UTF-8, or too much.
        """
        try:
            self._text += self._unpack.decompress(data, MAX_FRAME)
        except zlib.error:
            raise ValueError("it cannot be unpacked") from None
        if self._unpack.unconsumed_tail or len(self._text) > MAX_FRAME:
            raise ValueError("it is too large")
        if self._unpack.eof:
            self._unpack = zlib.decompressobj()
        elif not data.endswith(_FLUSHED):
            return None
        text, self._text = self._text.decode(), bytearray()
        return text


class Socket(DiscordClientWebSocketResponse):
    """See the module's comment."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.listening: Listening | None = None
        self._unpacker = Unpacker()
        self._sequence: int | None = None
        self._heard = False
        self._over = False

    async def receive(self, timeout: float | None = None) -> WSMessage:
        """The next frame that discord.py can read; what is not one is passed over."""
        while True:
            message = await super().receive(timeout)
            if message.type in _ENDS:
                self._end()
                if self.close_code in BEGIN_ANEW:  # discord.py would resume it again and again
                    return _as_text({"op": INVALID_SESSION, "d": False})
                return message
            try:
                text = self._unpacker.feed(message.data) if message.type is WSMsgType.BINARY else str(message.data)
            except ValueError as error:  # nothing after it in this stream can be read
                log.warning("the gateway's stream broke (%s): connecting again", error)
                await self.close(code=4000)
                continue
            if text is not None and (frame := self._read(text)) is not None:
                return _as_text(needed(frame, self._sequence))

    async def close(self, *, code: int = 4000, message: bytes = b"") -> bool:
        """Close it, from our side or after theirs."""
        self._end()
        return await super().close(code=code, message=message)

    def _read(self, text: str) -> Mapping[str, Any] | None:
        assert self.listening is not None
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            self.listening.unreadable(text, "a frame of Discord's that is no JSON")
            return None
        op = frame.get("op") if isinstance(frame, dict) else None
        if not isinstance(frame, dict) or not isinstance(op, int) or isinstance(op, bool):
            self.listening.unreadable(text, "a frame of Discord's without an opcode")
            return None
        self._heard = self._heard or op == DISPATCH
        if isinstance(sequence := frame.get("s"), int) and not isinstance(sequence, bool):
            self._sequence = sequence
        self.listening.frame(frame)
        return frame

    def _end(self) -> None:
        if not self._over and self.listening is not None:
            self._over = True
            self.listening.ended(heard=self._heard)


def needed(frame: Mapping[str, Any], sequence: int | None) -> dict[str, Any]:
    """A frame as discord.py needs it.

    Args:
        sequence: the last one that was given.
    """
    given = data if isinstance(data := frame.get("d"), Mapping) else {}
    told: dict[str, Any] = {"op": frame["op"], "s": sequence, "d": None}
    if frame["op"] == HELLO:
        told["d"] = {"heartbeat_interval": interval(given.get("heartbeat_interval"))}
    elif frame["op"] == INVALID_SESSION:
        told["d"] = data is True
    elif frame["op"] == DISPATCH:
        event = frame.get("t")
        told |= {"t": event if isinstance(event, str) else "UNKNOWN", "d": {}}
        if event == "READY":
            address = given.get("resume_gateway_url")
            told["d"] = {
                "session_id": str(given.get("session_id") or ""),
                "resume_gateway_url": address if isinstance(address, str) and "://" in address else DEFAULT_RESUME,
            }
    return told


def interval(value: Any) -> float:
    """A heartbeat's interval in milliseconds; Discord's usual one where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 3_600_000:
        return DEFAULT_INTERVAL
    return max(float(value), SHORTEST_INTERVAL)


def _as_text(frame: Mapping[str, Any]) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, json.dumps(frame), None)

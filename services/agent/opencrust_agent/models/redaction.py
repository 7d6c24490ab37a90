"""A provider's key while one request uses it: it reaches the request's headers and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opencrust_agent.models.errors import ErrorKind, ModelError

if TYPE_CHECKING:
    from opencrust_agent.models.presets import Endpoint

_FRAGMENT = 6
"""Shared characters that give a key away: providers echo keys with the middle starred out."""


class KeyInUse:
    """Holds the key of one request. Its repr does not show it."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = ""

    def __repr__(self) -> str:
        return "KeyInUse()"

    async def fetch(self, endpoint: Endpoint) -> None:
        """Raises ModelError(AUTH) when the key cannot be had or cannot be a key."""
        if endpoint.credential is None:
            return
        failed = ""
        try:
            async with asyncio.timeout(endpoint.timeouts.connect):
                self._key = (await endpoint.credential()).reveal_text().strip()
        except Exception as error:  # noqa: BLE001 - whatever the vault's client raises, the text may not be safe to show
            failed = type(error).__name__
        if failed:
            raise ModelError(ErrorKind.AUTH, f"the key could not be fetched from the vault ({failed})")
        if not self._key or not self._key.isascii() or not self._key.isprintable() or " " in self._key:
            self._key = ""
            raise ModelError(ErrorKind.AUTH, "what is stored as the key is empty or holds spaces or odd characters")

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        return endpoint.headers(self._key)

    def redact(self, text: str) -> str:
        """`text` with every part of it blacked out that shares six characters in a row with the key."""
        if not self._key:
            return text
        text = text.replace(self._key, "[key]")
        fragments = {self._key[i : i + _FRAGMENT] for i in range(len(self._key) - _FRAGMENT + 1)}
        hidden = [False] * len(text)
        for start in range(len(text) - _FRAGMENT + 1):
            if text[start : start + _FRAGMENT] in fragments:
                hidden[start : start + _FRAGMENT] = [True] * _FRAGMENT
        return "".join("*" if hide else character for character, hide in zip(text, hidden, strict=True))

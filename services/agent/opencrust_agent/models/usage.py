"""Tokens spent on one call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """`input_tokens` counts all of the prompt, `cached_tokens` the part of it that was read from the provider's cache.
    `reported` is False when the provider never said: the ledger must estimate."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reported: bool = False

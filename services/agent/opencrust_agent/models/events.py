"""What a model's stream yields, in order: Attempt, TextDelta…, (Reset, Attempt, TextDelta…)…, Completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from opencrust_agent.models.errors import ModelError
from opencrust_agent.models.messages import Message
from opencrust_agent.models.usage import Usage

Finish: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request is about to be sent. `number` counts from 1 over the whole call; `after` is the error that ended the
    attempt before it, None for the first."""

    number: int
    provider: str
    model: str
    after: ModelError | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer; never empty, always valid Unicode."""

    text: str


@dataclass(frozen=True, slots=True)
class Reset:
    """The attempt broke after text had been shown: whoever shows it discards it. Another Attempt follows, or the
    stream raises."""

    error: ModelError


@dataclass(frozen=True, slots=True)
class Completion:
    """The whole answer, known to be whole. `provider` is the endpoint's name, `model` what the provider says it ran."""

    message: Message
    finish: Finish
    usage: Usage
    provider: str
    model: str
    response_id: str = ""

    @property
    def text(self) -> str:
        return self.message.text


Event: TypeAlias = Attempt | TextDelta | Reset | Completion

__all__ = ["Attempt", "Completion", "Event", "Finish", "Reset", "TextDelta", "Usage"]

"""The protocol of a tool: what it is (:class:`ToolSpec`), what a call is given, and what it gives back."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

from opencrust.contracts import ReplyAddress, Sender, Trust
from opencrust_agent import models

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Effect(StrEnum):
    """What a call does to the world. Everything but ``read`` is done at most once, also when we are killed over it."""

    READ = "read"
    """Looks something up; may be repeated at will."""
    WRITE = "write"
    """Changes something that we or the person keep: a file, a note, a calendar."""
    SEND = "send"
    """Reaches other people, or leaves the house for good."""
    SPEND = "spend"
    """Costs money."""
    EXEC = "exec"
    """Runs code or commands."""


Egress: TypeAlias = frozenset[str] | Literal["none", "public"]
"""Where a call may connect to: nowhere, anywhere public, or exactly these host names."""

Source: TypeAlias = Literal["tool", "web", "file", "plugin", "memory", "mail", "mcp"]
"""Where a tool's answers come from: the label that the model sees, and the thresholds of their assessment."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the policy and the model see it.

    Args:
        name: ``[a-z][a-z0-9_]*``, at most 64 characters; unique in the registry. A plugin's are ``<plugin>_<tool>``.
        description: for the model. A plugin's is untrusted text, and is assessed like any other.
        parameters: JSON Schema of type ``object``. Calls whose arguments do not fit it never reach the tool
            (:mod:`opencrust_agent.tools.schema` says which keywords are held).
        effects: all that a call may do; empty is refused.
        egress: where it connects to. ``public`` makes each new host a question while the conversation is tainted.
        taints: its answers are written by strangers (a page, an e-mail, a file from elsewhere): the conversation is
            tainted by them.
        sensitive: names of top-level arguments that say *where* an effect goes (recipient, URL, path, amount, account).
            In a tainted conversation each must stand in the person's own words, or he is asked.
        irreversible: it takes away what cannot be got back (deletes, removes, overwrites). In a tainted conversation
            the person is always asked: that he named the thing says nothing of ending it.
        irreversible_if: names of top-level boolean arguments that make a call irreversible when they are true.
        timeout: most seconds for one call.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    effects: frozenset[Effect]
    egress: Egress = "none"
    taints: bool = True
    sensitive: frozenset[str] = frozenset()
    source: Source = "tool"
    irreversible: bool = False
    irreversible_if: frozenset[str] = frozenset()
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"tool name {self.name!r}: a letter, then letters, digits and '_', 64 at most, lower case")
        if not self.effects:
            raise ValueError(f"tool {self.name}: declare its effects; one that only looks has {{Effect.READ}}")
        if self.parameters.get("type") != "object":
            raise ValueError(f"tool {self.name}: parameters must be a JSON Schema of type object")
        unknown = (self.sensitive | self.irreversible_if) - set(self.parameters.get("properties", {}))
        if unknown:
            raise ValueError(f"tool {self.name}: names arguments it does not have: {', '.join(sorted(unknown))}")

    @property
    def repeatable(self) -> bool:
        """A call can be made again without harm: after a crash nobody needs to know whether it was made."""
        return self.effects == {Effect.READ}

    def offered(self) -> models.ToolSpec:
        """The tool as a model provider is told of it."""
        return models.ToolSpec(self.name, self.description, self.parameters)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a call is given besides its arguments, all of it from trusted places.

    Args:
        address: the conversation the call belongs to. A tool that sends elsewhere takes the place as an argument.
        person: who asked; ``trust`` is what he is to the house.
        call: names this call for ever, the same when it is repeated: an idempotency key for whatever is reached.
        deadline: :func:`asyncio.get_running_loop().time` at which the call is cancelled.
        stop: set when somebody stops the turn; the call is cancelled as well. For threads and children.
        tainted: the conversation holds text by strangers.
    """

    address: ReplyAddress
    person: Sender
    trust: Trust
    call: str
    deadline: float
    stop: asyncio.Event
    tainted: bool = False
    is_group: bool = False

    @property
    def channel(self) -> str:
        return self.address.channel

    @property
    def conversation(self) -> str:
        """The conversation key, unique beside its channel."""
        return self.address.key


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave.

    Args:
        text: for the model; what is over 16 KiB is cut there. Assessed and labelled by the executor, not by the tool.
        taint: this answer holds strangers' text though the tool's answers need not; cannot lift ``spec.taints``.
        failed: the call did not do what was asked; ``text`` says why, and what to do.
        origin: where exactly the text is from (a URL, a path), for its label.
        summary: one line for the person watching; made of the call, never of fetched text.
    """

    text: str
    taint: bool = False
    failed: bool = False
    origin: str = ""
    summary: str = ""


class Tool(Protocol):
    """One tool. Instances are shared by all conversations of the process: no state of one call is kept in them."""

    @property
    def spec(self) -> ToolSpec: ...

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """Do it. ``arguments`` fit the schema; cancelled at the deadline and at STOP.

        Whatever it raises becomes a failed result that names the exception's type and nothing of its text.
        """
        ...

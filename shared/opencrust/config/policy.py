"""What a person may set about tools: ordered rules, and who approves. The agent evaluates them."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from opencrust.contracts import Trust

Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_*?-]{1,64}$")]
"""A name with ``*`` and ``?``, as in a shell."""
Kind = Literal["read", "write", "send", "spend", "exec", "egress"]
"""What a rule is about: an effect of the tool, or ``egress``: a connection to a host that the person did not name."""
Source = Literal["tool", "web", "file", "plugin", "memory", "mail", "mcp"]
"""Where a tool is from, as its spec says; a tool cannot choose it, as it can its name."""


class Answer(StrEnum):
    """What a rule says, from nothing against it to no."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Rule(BaseModel):
    """One rule. What is left out matches everything; the first rule that matches counts.

    An ``allow`` for anything but reading holds in a tainted conversation only where it says ``"tainted": true``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    then: Answer
    why: Annotated[str, StringConstraints(max_length=200)] = ""
    """For the person who is asked, and for the model that is refused."""
    agent: Pattern = "*"
    channel: Pattern = "*"
    roles: tuple[Trust, ...] = ()
    """Of who asked: owner, user, guest, unknown."""
    chat: Literal["any", "private", "group"] = "any"
    tools: tuple[Pattern, ...] = ()
    sources: tuple[Source, ...] = ()
    """Of the tool: ``plugin`` for what somebody else wrote; ``tool``, ``web`` and ``file`` are our own."""
    effects: tuple[Kind, ...] = ()
    tainted: bool | None = None


class PolicySettings(BaseModel):
    """Under ``agent.policy`` in the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rules: tuple[Rule, ...] = Field(default=(), max_length=200)
    """Tried before the default table."""
    defaults: bool = True
    """Whether the default table follows. Without it, and without a rule that matches: deny."""
    approval_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60 - 60)] = 60
    """How long a question waits for its answer; then it counts as denied."""
    requester_may_approve: bool = True
    """Whether a user may approve what his own message led to. Else, and for everybody else's, an operator."""
    max_steps: Annotated[int, Field(ge=1, le=32)] = 8
    """Most rounds of tools in one turn."""

    @model_validator(mode="after")
    def _names_a_rule_at_least(self) -> Self:
        if not self.defaults and not self.rules:
            raise ValueError("without the default table and without rules no tool may ever be used: add rules")
        return self

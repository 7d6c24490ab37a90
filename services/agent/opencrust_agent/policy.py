"""May this call be made? Ordered rules, first match counts, default deny. Pure, and outside everything the model reads.

A call is judged once for each thing that it does: each of its effects, and ``egress`` where it may connect anywhere;
the strictest answer is the call's. While strangers' text is in the conversation the rules about tainted conversations
apply, unless the call is the person's own wish (:mod:`opencrust_agent.provenance`).

The model is offered only what it might be allowed to do, which saves it trouble; the check is made again at each call,
which is what holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from opencrust.config import Answer, PolicySettings, Rule
from opencrust.contracts import Trust
from opencrust_agent.provenance import Wish
from opencrust_agent.tools import Effect, ToolSpec

EGRESS = "egress"
_STRICTNESS = {Answer.ALLOW: 0, Answer.ASK: 1, Answer.DENY: 2}
_KNOWN = (Trust.OWNER, Trust.USER)

DEFAULT_RULES = (
    Rule(then=Answer.ALLOW, roles=(Trust.GUEST, *_KNOWN), tools=("clock",), sources=("tool",), effects=("read",)),
    Rule(then=Answer.DENY, roles=(Trust.GUEST, Trust.UNKNOWN), why="guests may chat; tools are for people on the list"),
    # Groups: everybody there reads the answer, so what is the house's own stays in private conversations.
    Rule(then=Answer.ALLOW, chat="group", tools=("web_*",), sources=("web",), effects=("read",)),
    Rule(then=Answer.ALLOW, chat="group", tools=("web_*",), sources=("web",), effects=("egress",), tainted=False),
    Rule(
        then=Answer.ASK,
        chat="group",
        roles=(Trust.OWNER,),
        why="in a group others may have led to it, and all see the answer",
    ),
    Rule(then=Answer.DENY, chat="group", why="in groups this works for the owner alone; ask me in private"),
    # Private conversations of the owner and of those he paired.
    Rule(then=Answer.ALLOW, roles=_KNOWN, effects=("read",)),
    Rule(then=Answer.ASK, roles=_KNOWN, effects=("spend",), why="it costs money"),
    Rule(then=Answer.ASK, roles=_KNOWN, effects=("exec",), why="it runs a program"),
    Rule(
        then=Answer.ASK,
        roles=_KNOWN,
        effects=("write", "send", "egress"),
        tainted=True,
        why="text by strangers is in this conversation, and may have led to it",
    ),
    Rule(then=Answer.ALLOW, roles=_KNOWN, effects=("write", "send", "egress"), tainted=False),
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Who asks, where, and what the conversation has seen. From the bus and the session, nothing from a text."""

    channel: str
    trust: Trust
    is_group: bool
    tainted: bool
    agent: str = "main"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer, and why."""

    answer: Answer
    why: str = ""


class Policy:
    """The rules of the moment."""

    def __init__(self, settings: PolicySettings | None = None, *, narrower: Iterable[Rule] = ()) -> None:
        """``narrower``: rules of a child or handoff, which can only take away: what they allow is asked of ours too."""
        self.settings = settings or PolicySettings()
        self._rules = (*self.settings.rules, *(DEFAULT_RULES if self.settings.defaults else ()))
        self._narrower = tuple(narrower)

    def judge(self, spec: ToolSpec, here: Circumstances, wish: Wish | None = None) -> Ruling:
        """The strictest answer over all that the call does.

        Args:
            wish: of a particular call; None asks what could be at best, for the list that the model is shown.
        """
        tainted = here.tainted and not (wish is None or wish.granted)
        kinds = [effect.value for effect in Effect if effect in spec.effects]
        if spec.egress == "public":
            kinds.append(EGRESS)
        rulings = [_first(self._rules, spec, here, kind, tainted) for kind in kinds]
        if self._narrower:
            rulings += [_first(self._narrower, spec, here, kind, tainted) for kind in kinds]
        return max(rulings, key=lambda ruling: _STRICTNESS[ruling.answer])

    def offers(self, spec: ToolSpec, here: Circumstances) -> bool:
        """Whether the model is shown the tool: at best it is allowed or asked about."""
        return self.judge(spec, here).answer is not Answer.DENY


def _first(rules: Iterable[Rule], spec: ToolSpec, here: Circumstances, kind: str, tainted: bool) -> Ruling:
    for rule in rules:
        if not _matches(rule, spec, here, kind):
            continue
        if rule.tainted is not None and rule.tainted != tainted:
            continue
        if rule.then is Answer.ALLOW and tainted and kind != Effect.READ and rule.tainted is not True:
            continue  # an allow that says nothing of taint was not meant for it
        return Ruling(rule.then, rule.why)
    return Ruling(Answer.DENY, "no rule allows it")


def _matches(rule: Rule, spec: ToolSpec, here: Circumstances, kind: str) -> bool:
    return (
        fnmatchcase(here.agent, rule.agent)
        and fnmatchcase(here.channel, rule.channel)
        and (not rule.roles or here.trust in rule.roles)
        and (rule.chat == "any" or (rule.chat == "group") == here.is_group)
        and (not rule.tools or any(fnmatchcase(spec.name, pattern) for pattern in rule.tools))
        and (not rule.sources or spec.source in rule.sources)
        and (not rule.effects or kind in rule.effects)
    )

"""The rules: first match, default deny, the strictest of all that a call does; and the shipped table row by row."""

from typing import Any

import pytest
from pydantic import ValidationError

from opencrust.config import Answer, PolicySettings, Rule
from opencrust.contracts import Trust
from opencrust_agent.policy import Circumstances, Policy
from opencrust_agent.provenance import Wish
from opencrust_agent.tools import Effect, ToolSpec

MINE, NOT_MINE = Wish(granted=True), Wish(granted=False)


def spec(name: str, *effects: Effect, egress: Any = "none", source: Any = "tool") -> ToolSpec:
    return ToolSpec(name, "", {"type": "object"}, frozenset(effects), egress=egress, source=source)


READ = spec("files_read", Effect.READ)
WRITE = spec("files_write", Effect.WRITE)
SEND = spec("send_message", Effect.SEND)
SPEND = spec("pay", Effect.SPEND)
EXEC = spec("shell", Effect.EXEC)
WEB = spec("web_fetch", Effect.READ, egress="public", source="web")
CLOCK = spec("clock", Effect.READ)
ALLOW, ASK, DENY = Answer.ALLOW, Answer.ASK, Answer.DENY


def here(trust: Trust = Trust.OWNER, *, group: bool = False, tainted: bool = False) -> Circumstances:
    return Circumstances("telegram", trust, group, tainted)


@pytest.mark.parametrize(
    ("where", "wish", "expected"),
    [
        # who, where                                         clock   read   web    write  send   spend  exec
        (here(Trust.OWNER), MINE, (ALLOW, ALLOW, ALLOW, ALLOW, ALLOW, ASK, ASK)),
        (here(Trust.OWNER), NOT_MINE, (ALLOW, ALLOW, ALLOW, ALLOW, ALLOW, ASK, ASK)),
        (here(Trust.USER), NOT_MINE, (ALLOW, ALLOW, ALLOW, ALLOW, ALLOW, ASK, ASK)),
        (here(Trust.OWNER, tainted=True), NOT_MINE, (ALLOW, ALLOW, ASK, ASK, ASK, ASK, ASK)),
        (here(Trust.OWNER, tainted=True), MINE, (ALLOW, ALLOW, ALLOW, ALLOW, ALLOW, ASK, ASK)),
        (here(Trust.USER, tainted=True), NOT_MINE, (ALLOW, ALLOW, ASK, ASK, ASK, ASK, ASK)),
        (here(Trust.OWNER, group=True), MINE, (ALLOW, ASK, ALLOW, ASK, ASK, ASK, ASK)),
        (here(Trust.OWNER, group=True, tainted=True), NOT_MINE, (ALLOW, ASK, ASK, ASK, ASK, ASK, ASK)),
        (here(Trust.USER, group=True), MINE, (ALLOW, DENY, ALLOW, DENY, DENY, DENY, DENY)),
        (here(Trust.GUEST), MINE, (ALLOW, DENY, DENY, DENY, DENY, DENY, DENY)),
        (here(Trust.GUEST, group=True), MINE, (ALLOW, DENY, DENY, DENY, DENY, DENY, DENY)),
        (here(Trust.UNKNOWN), MINE, (DENY, DENY, DENY, DENY, DENY, DENY, DENY)),
    ],
)
def test_the_shipped_table(where: Circumstances, wish: Wish, expected: tuple[Answer, ...]) -> None:
    policy = Policy()
    found = tuple(policy.judge(tool, where, wish).answer for tool in (CLOCK, READ, WEB, WRITE, SEND, SPEND, EXEC))
    assert found == expected


def test_what_no_rule_names_is_denied() -> None:
    policy = Policy(PolicySettings(defaults=False, rules=(Rule(then=ALLOW, tools=("clock",)),)))
    assert policy.judge(CLOCK, here(), MINE).answer is ALLOW
    ruling = policy.judge(READ, here(), MINE)
    assert (ruling.answer, ruling.why) == (DENY, "no rule allows it")


def test_the_strictest_effect_counts() -> None:
    both = spec("buy", Effect.READ, Effect.SPEND)
    assert Policy().judge(both, here(), MINE).answer is ASK


def test_own_rules_come_first_in_their_order() -> None:
    rules = (
        Rule(then=DENY, tools=("files_*",), effects=("write",), channel="telegram", why="not from the phone"),
        Rule(then=ALLOW, tools=("pay",), roles=(Trust.OWNER,)),
    )
    policy = Policy(PolicySettings(rules=rules))
    assert policy.judge(WRITE, here(), MINE) == policy.judge(WRITE, here(), NOT_MINE)
    assert policy.judge(WRITE, here(), MINE).why == "not from the phone"
    assert policy.judge(SPEND, here(), MINE).answer is ALLOW
    assert policy.judge(SPEND, here(Trust.USER), MINE).answer is ASK


def test_an_allow_that_says_nothing_of_taint_does_not_hold_there() -> None:
    tainted = here(tainted=True)
    silent = Policy(PolicySettings(rules=(Rule(then=ALLOW, tools=("pay",)),)))
    assert silent.judge(SPEND, tainted, NOT_MINE).answer is ASK
    outspoken = Policy(PolicySettings(rules=(Rule(then=ALLOW, tools=("pay",), tainted=True),)))
    assert outspoken.judge(SPEND, tainted, NOT_MINE).answer is ALLOW


def test_children_only_narrow() -> None:
    child = Policy(narrower=(Rule(then=ALLOW, tools=("clock", "pay")),))
    assert child.judge(CLOCK, here(), MINE).answer is ALLOW
    assert child.judge(READ, here(), MINE).answer is DENY
    assert child.judge(SPEND, here(), MINE).answer is ASK


def test_the_model_is_offered_what_it_may_be_allowed_or_asked_about() -> None:
    policy = Policy()
    tools = (CLOCK, READ, WEB, WRITE, SEND, SPEND, EXEC)
    offered = [tool.name for tool in tools if policy.offers(tool, here(Trust.USER, group=True))]
    assert offered == ["clock", "web_fetch"]
    assert all(policy.offers(tool, here(tainted=True)) for tool in tools)


@pytest.mark.parametrize(
    "settings",
    [
        {"rules": [{"then": "permit"}]},
        {"rules": [{"then": "allow", "tool": "x"}]},
        {"rules": [{"then": "allow", "effects": ["fly"]}]},
        {"rules": [{"then": "allow", "tools": ["UPPER"]}]},
        {"defaults": False},
        {"approval_minutes": 0},
    ],
)
def test_settings_are_strict(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PolicySettings.model_validate(settings)

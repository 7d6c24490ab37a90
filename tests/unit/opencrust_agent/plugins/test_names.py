"""What a plugin may be called: no name that a rule about a tool of our own could be taken to mean."""

from datetime import UTC, datetime
from typing import Any

import pytest

from guests import manifest
from opencrust.config import Answer, PolicySettings, Rule
from opencrust.contracts import Trust
from opencrust.contracts.plugins import RESERVED, PluginGrant, PluginRecord, PluginTool
from opencrust_agent.plugins import desk
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.manifest import read
from opencrust_agent.policy import Circumstances, Policy
from opencrust_agent.tools import Effect, ToolSpec
from opencrust_agent.tools.clock import Clock
from opencrust_agent.tools.files import file_tools
from opencrust_agent.tools.send_message import SendMessage
from opencrust_agent.tools.web_fetch import WebFetch

GROUP = Circumstances("telegram", Trust.GUEST, is_group=True, tainted=False)
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def tool(name: str, source: Any, effect: Effect = Effect.READ) -> ToolSpec:
    return ToolSpec(name, "", EMPTY, frozenset({effect}), source=source)


@pytest.mark.parametrize("name", ["web", "web-search", "clock", "file", "send-it", "shell", "mcp-x"])
def test_names_that_begin_like_our_own_tools_are_refused(name: str) -> None:
    with pytest.raises(PluginRefused, match="kept for tools of OpenCrust itself"):
        read(manifest(name=name))


@pytest.mark.parametrize("name", ["webcam", "clocks", "filer", "weather-web"])
def test_names_that_only_look_alike_are_not(name: str) -> None:
    assert read(manifest(name=name)).name == name


def test_every_tool_of_ours_is_kept() -> None:
    """A new built-in tool whose first word no plugin must take fails here until it is."""
    ours = [Clock.spec, WebFetch.spec, SendMessage.spec, *(t.spec for t in file_tools(None, lambda: None))]  # type: ignore[arg-type,return-value]
    assert {spec.name.partition("_")[0] for spec in ours} <= RESERVED


def test_the_default_rules_about_our_tools_mean_ours_and_no_others() -> None:
    """Should a plugin ever get such a name: the rule goes by where a tool is from, not by what it calls itself."""
    policy, user = Policy(), Circumstances("telegram", Trust.USER, is_group=True, tainted=False)
    assert policy.judge(tool("web_fetch", "web"), user).answer is Answer.ALLOW
    assert policy.judge(tool("web_steal", "plugin"), user).answer is Answer.DENY
    assert policy.judge(tool("clock", "tool"), GROUP).answer is Answer.ALLOW
    assert policy.judge(tool("clock", "plugin"), GROUP).answer is Answer.DENY


def test_a_rule_may_name_where_tools_are_from() -> None:
    rule = Rule(then=Answer.DENY, sources=("plugin",))
    policy = Policy(PolicySettings(rules=(rule,)))
    here = Circumstances("web", Trust.OWNER, is_group=False, tainted=False)
    assert policy.judge(tool("weather_now", "plugin"), here).answer is Answer.DENY
    assert policy.judge(tool("file_read", "file"), here).answer is Answer.ALLOW


def record(name: str, *tools: str, enabled: bool = True) -> PluginRecord:
    made = [PluginTool(name=tool, description="", parameters=EMPTY, effects=["read"]) for tool in tools]
    grant = PluginGrant(
        version="1.0.0", wasm="0" * 64, size=1, manifest="", description="0" * 64, consent="0" * 64, tools=made,
        at=datetime.now(UTC),
    )  # fmt: skip
    return PluginRecord(name=name, enabled=enabled, current=grant)


@pytest.mark.parametrize("enabled", [True, False])
def test_two_plugins_never_have_a_tool_of_the_same_name(enabled: bool) -> None:
    """`a-b` with `c` and `a` with `b_c` are both `a_b_c`; a disabled one may be enabled again."""
    there = {"a-b": record("a-b", "c", enabled=enabled)}
    with pytest.raises(desk.NotDone, match="a-b has the tool a_b_c"):
        desk.check_names(record("a", "x", "b_c"), there)
    desk.check_names(record("a", "b_d"), there)
    desk.check_names(record("a-b", "c"), there)  # itself


def test_all_plugins_together_have_no_more_tools_than_a_provider_takes() -> None:
    """OpenAI refuses a request with more than 128 functions: with one plugin too many no chat would be answered."""
    there = {f"p{n}": record(f"p{n}", *(f"t{m}" for m in range(16))) for n in range(6)}
    with pytest.raises(desk.NotDone, match="at most 96"):
        desk.check_names(record("one-more", "t"), there)
    there["p0"] = there["p0"].model_copy(update={"enabled": False})
    desk.check_names(record("one-more", "t"), there)

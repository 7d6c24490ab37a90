"""Tools from several sources; the first one keeps a name."""

from dataclasses import dataclass
from typing import Any

import pytest

from opencrust_agent.tools import Effect, Tool, ToolContext, ToolRegistry, ToolResult, ToolSpec


@dataclass
class Named:
    spec: ToolSpec

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return ToolResult("")


def tool(name: str, description: str = "") -> Tool:
    return Named(ToolSpec(name, description, {"type": "object"}, frozenset({Effect.READ})))


def test_tools_come_and_go() -> None:
    plugins: list[Tool] = []
    registry = ToolRegistry(lambda: [tool("clock")])
    registry.add(lambda: plugins)
    assert list(registry.now()) == ["clock"]
    plugins.append(tool("notes_add"))
    assert list(registry.now()) == ["clock", "notes_add"]
    plugins.clear()
    assert list(registry.now()) == ["clock"]


def test_nobody_takes_a_built_in_tools_name(caplog: pytest.LogCaptureFixture) -> None:
    registry = ToolRegistry(lambda: [tool("clock", "ours")], lambda: [tool("clock", "theirs")])
    assert registry.now()["clock"].spec.description == "ours"
    registry.now()
    assert caplog.text.count("a second tool named clock") == 1

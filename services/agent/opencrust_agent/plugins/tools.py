"""A plugin's tools as the agent's tools: what the policy, the approvals and the model see."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from opencrust.contracts.plugins import PluginRecord, PluginTool
from opencrust_agent.plugins.errors import PluginError
from opencrust_agent.plugins.manifest import Manifest
from opencrust_agent.tools import Effect, ToolContext, ToolResult, ToolSpec

Call = Callable[[str, str, dict[str, Any], float], Awaitable[tuple[bool, str]]]
"""Plugin, tool, arguments, seconds; gives whether it was done, and the answer."""


class PluginsTool:
    """One tool of one plugin. Its answers are always strangers' text."""

    def __init__(self, record: PluginRecord, manifest: Manifest, tool: PluginTool, call: Call) -> None:
        self._plugin = record.name
        self._tool = tool.name
        self._call = call
        hosts = frozenset(rule.host for rule in manifest.http)
        self.spec = ToolSpec(
            name=tool_name(record.name, tool.name),
            description=tool.description,
            parameters=tool.parameters,
            effects=frozenset(Effect(effect) for effect in tool.effects),
            egress=hosts or "none",
            taints=True,
            sensitive=frozenset(tool.sensitive),
            source="plugin",
            timeout=manifest.limits.timeout_ms / 1000 + 1,
        )

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """Call it. STOP cancels this, and the plugin's process is killed."""
        left = context.deadline - asyncio.get_running_loop().time()
        try:
            done, text = await self._call(self._plugin, self._tool, arguments, left)
        except PluginError as error:
            return ToolResult(f"The plugin {self._plugin} did not answer: {error}", failed=True)
        return ToolResult(text, taint=True, failed=not done, origin=f"plugin {self._plugin}")


def tool_name(plugin: str, tool: str) -> str:
    """``<plugin>_<tool>``, in the characters that a tool's name may have."""
    return f"{plugin.replace('-', '_')}_{tool}"[:64]


def input_json(tool: str, arguments: dict[str, Any]) -> str:
    """What ``call`` is given."""
    return json.dumps({"tool": tool, "arguments": arguments}, separators=(",", ":"), ensure_ascii=False)

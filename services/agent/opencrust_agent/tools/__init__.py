"""Tools: what the agent can do besides talking.

``tool`` is the protocol that every tool implements, built in or plugin; ``registry`` holds those of the moment. A tool
only *describes* what it does to the world (:class:`Effect`, egress, sensitive arguments). Whether a call happens is
decided by the executor and its policy, outside the model's context, and never by the tool itself.
"""

from opencrust_agent.tools.registry import ToolRegistry
from opencrust_agent.tools.tool import Effect, Tool, ToolContext, ToolResult, ToolSpec

__all__ = ["Effect", "Tool", "ToolContext", "ToolRegistry", "ToolResult", "ToolSpec"]

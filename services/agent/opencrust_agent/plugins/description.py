"""What a component says of itself: its tools, read once, at installation. Text of strangers, made plain and bounded."""

import json
import re
from typing import Any

from opencrust.contracts.plugins import PluginTool
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.limits import MAX_TOOLS
from opencrust_agent.plugins.manifest import Manifest
from opencrust_agent.sanitise import sanitise

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_DESCRIPTION = 1024
_SCHEMA_KEYS = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "minLength", "maxLength",
    "minimum", "maximum", "minItems", "maxItems", "description", "title", "default", "format", "examples",
})  # fmt: skip
_SCHEMA_BYTES = 8 * 1024
_DEPTH = 8


def plain(text: str, most: int) -> str:
    """One line of what can be seen, at most `most` characters."""
    return " ".join(sanitise(text).split())[:most]


def read(text: str, manifest: Manifest) -> list[PluginTool]:
    """The tools of a description.

    Raises:
        PluginRefused: it is none, or has what no tool may have.
    """
    try:
        content = json.loads(text)
        tools = content["tools"]
        if not isinstance(tools, list) or not 1 <= len(tools) <= MAX_TOOLS:
            raise PluginRefused(f"it describes no tools, or more than {MAX_TOOLS}")
        found = [_tool(tool, manifest) for tool in tools]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PluginRefused('its description is not {"tools": [{"name", "description", "parameters"}]}') from None
    names = [tool.name for tool in found]
    if len(set(names)) != len(names):
        raise PluginRefused("it describes two tools of the same name")
    if unknown := sorted(manifest.tools.keys() - set(names)):
        raise PluginRefused(f"plugin.toml has [tools.{unknown[0]}], and the component has no such tool")
    return found


def _tool(given: Any, manifest: Manifest) -> PluginTool:
    name = given["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginRefused("a tool's name must be small letters, digits and '_', at most 31, beginning with a letter")
    parameters = given.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        raise PluginRefused(f"tool {name}: its parameters must be a JSON Schema of type object")
    if len(json.dumps(parameters)) > _SCHEMA_BYTES:
        raise PluginRefused(f"tool {name}: its parameters have more than {_SCHEMA_BYTES // 1024} KiB")
    schema = _schema(parameters, name, 0)
    rule = manifest.tools.get(name)
    sensitive = list(rule.sensitive) if rule is not None else []
    if unknown := sorted(set(sensitive) - schema.get("properties", {}).keys()):
        raise PluginRefused(f"plugin.toml: [tools.{name}] calls {unknown[0]!r} sensitive, which is no argument of it")
    return PluginTool(
        name=name,
        description=plain(str(given["description"]), _DESCRIPTION),
        parameters=schema,
        effects=list(manifest.effects(name)),
        sensitive=sensitive,
    )


def _schema(given: Any, tool: str, depth: int) -> Any:
    """A schema of the keywords that are held to, its texts made plain."""
    if depth > _DEPTH:
        raise PluginRefused(f"tool {tool}: its parameters nest too deep")
    if not isinstance(given, dict):
        return given if isinstance(given, bool) else {}
    made: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _SCHEMA_KEYS:
            continue
        if key == "properties":
            if not isinstance(value, dict):
                raise PluginRefused(f"tool {tool}: `properties` must be an object")
            made[key] = {plain(name, 64): _schema(item, tool, depth + 1) for name, item in value.items()}
        elif key in ("items", "additionalProperties"):
            made[key] = _schema(value, tool, depth + 1)
        else:
            made[key] = _texts(value)
    return made


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value, _DESCRIPTION)
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return value if isinstance(value, (int, float, bool, type(None))) else None

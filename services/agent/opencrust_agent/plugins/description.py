"""What a component says of itself: its tools, read once, at installation. Text of strangers, made plain and bounded."""

import json
import re
from typing import Any, cast

from opencrust.contracts.plugins import PluginTool
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.limits import MAX_TOOLS
from opencrust_agent.plugins.manifest import Manifest
from opencrust_agent.sanitise import sanitise

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_DESCRIPTION = 1024
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ARGUMENTS = 64
_ARGUMENT_DESCRIPTION = 500
_CHOICES = 64
_BOUNDS: dict[str, tuple[str, ...]] = {
    "object": (),
    "array": ("minItems", "maxItems"),
    "string": ("minLength", "maxLength"),
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "boolean": (),
}
_TYPES = tuple(_BOUNDS)
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
        content = json.loads(text, parse_constant=_no_number)
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
    wanted = given.get("parameters", {"type": "object", "properties": {}})
    if len(json.dumps(wanted)) > _SCHEMA_BYTES:
        raise PluginRefused(f"tool {name}: its parameters have more than {_SCHEMA_BYTES // 1024} KiB")
    schema = parameters(wanted, name)
    if not isinstance(given["description"], str):
        raise PluginRefused(f"tool {name}: its description must be a string")
    rule = manifest.tools.get(name)
    sensitive = list(rule.sensitive) if rule is not None else []
    if unknown := sorted(set(sensitive) - schema.get("properties", {}).keys()):
        raise PluginRefused(f"plugin.toml: [tools.{name}] calls {unknown[0]!r} sensitive, which is no argument of it")
    return PluginTool(
        name=name,
        description=plain(given["description"], _DESCRIPTION),
        parameters=schema,
        effects=list(manifest.effects(name)),
        sensitive=sensitive,
    )


def _no_number(text: str) -> Any:
    """``NaN`` and ``Infinity``: Python reads them, and JSON has none."""
    raise ValueError(text)


def parameters(given: Any, tool: str) -> dict[str, Any]:
    """A tool's schema in the keywords that every provider takes and that calls are held to; others are left out.

    One request tells the provider of all tools, and with one schema that it refuses (an array without items, an empty
    enum, ``NaN``, a name with a space) no chat is answered any more. So the subset is strict: OpenAI, Anthropic and
    Gemini take all of it.

    Raises:
        PluginRefused: with the place and the rule.
    """
    if not isinstance(given, dict) or given.get("type") != "object":
        raise PluginRefused(f"tool {tool}: its parameters must be a JSON Schema of type object")
    try:
        return {"properties": {}, **_schema(given, 0)}
    except _Wrong as wrong:
        raise PluginRefused(f"tool {tool}: parameters{wrong}") from None


class _Wrong(Exception):
    """The text is the place, and what is wrong there."""


def _schema(given: Any, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise _Wrong(" nest too deep")
    if not isinstance(given, dict) or given.get("type") not in _TYPES:
        raise _Wrong(f" needs one `type`: {', '.join(_TYPES)}")
    kind = given["type"]
    made: dict[str, Any] = {"type": kind}
    if "description" in given:
        made["description"] = plain(_string(given["description"], ".description"), _ARGUMENT_DESCRIPTION)
    choices = [given["const"]] if "const" in given else given.get("enum")
    if choices is not None:
        made["enum"] = _choices(choices, kind)
    for keyword in _BOUNDS[kind]:
        if keyword in given:
            made[keyword] = _number(given[keyword], keyword, whole=kind not in ("number", "integer"))
    if kind == "array":
        made["items"] = _below(given.get("items"), "[]", depth)
    if kind == "object":
        made.update(_object(given, depth))
    return made


def _object(given: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = given.get("properties", {})
    if not isinstance(properties, dict) or len(properties) > _ARGUMENTS:
        raise _Wrong(f".properties must be an object of at most {_ARGUMENTS}")
    if not all(_ARGUMENT.fullmatch(name) for name in properties):
        raise _Wrong(": an argument's name must be letters, digits, '_' and '-', at most 64, beginning with a letter")
    made: dict[str, Any] = {"properties": {name: _below(item, f".{name}", depth) for name, item in properties.items()}}
    required = given.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) and name in properties for name in required):
        raise _Wrong(".required must be a list of its arguments")
    if required:
        made["required"] = sorted(set(required))
    if (extra := given.get("additionalProperties")) is not None:
        made["additionalProperties"] = extra if isinstance(extra, bool) else _below(extra, ".(other)", depth)
    return made


def _below(given: Any, place: str, depth: int) -> dict[str, Any]:
    try:
        return _schema(given, depth + 1)
    except _Wrong as wrong:
        raise _Wrong(f"{place}{wrong}") from None


def _choices(given: Any, kind: str) -> list[Any]:
    if kind == "string":
        right = isinstance(given, list) and all(isinstance(c, str) and c and plain(c, 100) == c for c in given)
    else:
        right = isinstance(given, list) and kind in ("number", "integer") and all(_is_number(c) for c in given)
    if not right or not 1 <= len(given) <= _CHOICES or len(set(given)) != len(given):
        raise _Wrong(f".enum must be 1 to {_CHOICES} different strings of one line, or numbers, as its type says")
    return list(given)


def _number(given: Any, keyword: str, *, whole: bool) -> float:
    if not _is_number(given) or (whole and not (isinstance(given, int) and given >= 0)):
        raise _Wrong(f".{keyword} must be a number{' of 0 or more' if whole else ''}")
    return cast("float", given)


def _is_number(given: Any) -> bool:
    """That every JSON parser reads as the same: finite, and exact in a double."""
    return isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) <= 2**53


def _string(given: Any, place: str) -> str:
    if not isinstance(given, str):
        raise _Wrong(f"{place} must be a string")
    return given

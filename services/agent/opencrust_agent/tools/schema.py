"""Whether a call's arguments fit the tool's JSON Schema: the keywords that tools use, strictly.

Held: ``type`` (also as a list), ``properties``, ``required``, ``additionalProperties`` (false where it is left out),
``items``, ``enum``, ``const``, ``minLength``, ``maxLength``, ``minimum``, ``maximum``, ``minItems``, ``maxItems``.
Others are the tool's own business: a plugin checks what it is given anyway. (JSON Schema 2020-12, validation.)
"""

from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int,),
}


def faults(value: object, schema: Mapping[str, Any], place: str = "arguments") -> list[str]:
    """What is wrong with ``value``, each with its place and the rule; quotes no value. Empty: it fits."""
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if names and not any(_is(value, name) for name in names):
        return [f"{place}: must be {' or '.join(names)}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place}: must be one of {', '.join(map(repr, schema['enum']))}"]
    if "const" in schema and value != schema["const"]:
        return [f"{place}: must be {schema['const']!r}"]
    match value:
        case dict():
            return _object(value, schema, place)
        case list():
            found = _between(len(value), schema, place, "minItems", "maxItems", "items")
            for number, item in enumerate(value):
                found += faults(item, schema.get("items", {}), f"{place}[{number}]")
            return found
        case str():
            return _between(len(value), schema, place, "minLength", "maxLength", "characters")
        case int() | float() if not isinstance(value, bool):
            return _between(value, schema, place, "minimum", "maximum", "")
    return []


def _is(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES.get(name, ())) or (
        name == "integer" and isinstance(value, float) and value % 1 == 0
    )


def _object(value: dict[str, Any], schema: Mapping[str, Any], place: str) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{place}.{name}: is missing" for name in schema.get("required", ()) if name not in value]
    extra = schema.get("additionalProperties", False)
    for name, item in value.items():
        if name in properties:
            found += faults(item, properties[name], f"{place}.{name}")
        elif extra is False and properties:
            found.append(f"{place}: has an argument that the tool does not know; it knows {', '.join(properties)}")
        elif isinstance(extra, Mapping):
            found += faults(item, extra, f"{place}.(other)")
    return found


def _between(size: float, schema: Mapping[str, Any], place: str, low: str, high: str, unit: str) -> list[str]:
    found = []
    if low in schema and size < schema[low]:
        found.append(f"{place}: at least {schema[low]} {unit}".rstrip())
    if high in schema and size > schema[high]:
        found.append(f"{place}: at most {schema[high]} {unit}".rstrip())
    return found

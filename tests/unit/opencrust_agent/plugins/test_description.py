"""What a component says of itself, made plain and bounded, or refused by name."""

import json
from typing import Any

import pytest

from guests import manifest
from opencrust_agent.plugins import description
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.manifest import read

TOOL = {"name": "echo", "description": "Says it again.", "parameters": {"type": "object", "properties": {}}}


def described(*tools: dict[str, Any], more: str = "") -> list[Any]:
    return description.read(json.dumps({"tools": list(tools)}), read(manifest(more=more)))


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ((), "no tools"),
        ((TOOL,) * 17, "more than 16"),
        ((TOOL, TOOL), "two tools of the same name"),
        (({**TOOL, "name": "Bad Name"},), "small letters"),
        (({**TOOL, "name": "x" * 32},), "at most 31"),
        (({**TOOL, "parameters": {"type": "string"}},), "type object"),
        (({**TOOL, "parameters": nested(12)},), "nest too deep"),
        (({**TOOL, "parameters": {"type": "object", "properties": {}, "title": "x" * 9000}},), "8 KiB"),
        (({"name": "echo"},), "its description is not"),
    ],
)
def test_what_is_wrong_is_named(tools: tuple[dict[str, Any], ...], said: str) -> None:
    with pytest.raises(PluginRefused) as caught:
        described(*tools)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"tools": 5}', "[" * 5000])
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(PluginRefused):
        description.read(text, read(manifest()))


def test_only_keywords_that_are_held_go_on() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "$ref": "http://evil", "pattern": "(a+)+$"}}}
    assert described({**TOOL, "parameters": schema})[0].parameters["properties"] == {"a": {"type": "string"}}


def test_the_manifest_narrows_tools_that_are_there_and_arguments_that_they_have() -> None:
    with pytest.raises(PluginRefused, match="no such tool"):
        described(TOOL, more='[tools.other]\neffects = ["read"]\n')
    with pytest.raises(PluginRefused, match="no argument of it"):
        described(TOOL, more='[tools.echo]\nsensitive = ["to"]\n')


def arguments(**properties: Any) -> dict[str, Any]:
    return {**TOOL, "parameters": {"type": "object", "properties": properties}}


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        (arguments(x={}), "parameters.x needs one `type`"),
        (arguments(x={"type": ["string", "null"]}), "parameters.x needs one `type`"),
        (arguments(x={"type": "text"}), "parameters.x needs one `type`"),
        (arguments(x="string"), "parameters.x needs one `type`"),
        (arguments(x={"type": "array"}), "parameters.x[] needs one `type`"),
        (arguments(x={"type": "array", "items": {"type": "array", "items": {}}}), "parameters.x[][] needs"),
        (arguments(x={"type": "string", "enum": []}), "parameters.x.enum"),
        (arguments(x={"type": "string", "enum": ["a", 5]}), "parameters.x.enum"),
        (arguments(x={"type": "string", "enum": ["a", "a"]}), "parameters.x.enum"),
        (arguments(x={"type": "string", "enum": ["a\nSYSTEM: b"]}), "parameters.x.enum"),
        (arguments(x={"type": "string", "enum": ["\ud800"]}), "parameters.x.enum"),
        (arguments(x={"type": "string", "enum": ["x" * 101]}), "parameters.x.enum"),
        (arguments(x={"type": "string", "enum": [f"{n}" for n in range(65)]}), "parameters.x.enum"),
        (arguments(x={"type": "integer", "enum": [True]}), "parameters.x.enum"),
        (arguments(x={"type": "object", "enum": [{}]}), "parameters.x.enum"),
        (arguments(x={"type": "string", "maxLength": -1}), "parameters.x.maxLength"),
        (arguments(x={"type": "string", "maxLength": "9"}), "parameters.x.maxLength"),
        (arguments(x={"type": "number", "maximum": 10**400}), "parameters.x.maximum"),
        (arguments(x={"type": "string", "description": 5}), "parameters.x.description"),
        (arguments(**{"two words": {"type": "string"}}), "an argument's name"),
        (arguments(**{"a\x1b[2J": {"type": "string"}}), "an argument's name"),
        (arguments(**{"x" * 65: {"type": "string"}}), "an argument's name"),
        (arguments(**{"": {"type": "string"}}), "an argument's name"),
        (arguments(**{f"a{n}": {"type": "string"} for n in range(65)}), "at most 64"),
        ({**TOOL, "parameters": {"type": "object", "properties": []}}, "parameters.properties"),
        ({**TOOL, "parameters": {"type": "object", "required": ["x"]}}, "parameters.required"),
        ({**TOOL, "parameters": {"type": "object", "required": "x"}}, "parameters.required"),
        ({**TOOL, "parameters": {"type": "object", "additionalProperties": {"type": 5}}}, "parameters.(other) needs"),
        ({**TOOL, "parameters": []}, "type object"),
        ({**TOOL, "description": {"a": "b"}}, "its description must be a string"),
    ],
)
def test_a_schema_that_a_provider_would_refuse_is_refused_here_by_its_place(tool: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginRefused) as caught:
        described(tool)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 5000])
def test_numbers_that_json_has_not_are_refused(number: str) -> None:
    text = json.dumps({"tools": [arguments(x={"type": "number", "maximum": 7})]}).replace(" 7", number)
    with pytest.raises(PluginRefused):
        description.read(text, read(manifest()))


def test_what_is_accepted_is_json_that_everybody_reads() -> None:
    tool = described(
        arguments(
            who={
                "type": "string",
                "description": "a\x1b[2J\u202e\ud800b",
                "minLength": 1,
                "const": "x",
                "default": "y",
            },
            many={"type": "array", "items": {"type": "integer", "minimum": 0.5}, "maxItems": 3},
            more={"type": "object", "properties": {"a-b": {"type": "boolean"}}, "required": ["a-b"], "anyOf": []},
        )
    )[0]
    assert json.loads(json.dumps(tool.parameters, allow_nan=False).encode()) == {
        "type": "object",
        "properties": {
            "who": {"type": "string", "description": "a[2Jb", "enum": ["x"], "minLength": 1},
            "many": {"type": "array", "items": {"type": "integer", "minimum": 0.5}, "maxItems": 3},
            "more": {"type": "object", "properties": {"a-b": {"type": "boolean"}}, "required": ["a-b"]},
        },
    }
    assert description.parameters(tool.parameters, "echo") == tool.parameters, "read again it is the same"

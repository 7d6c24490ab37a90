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

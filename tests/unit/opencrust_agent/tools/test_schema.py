"""Arguments against a schema: what fits, and what is said of what does not."""

from typing import Any

import pytest

from opencrust_agent.tools.schema import faults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "minLength": 1, "maxLength": 5},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "note": {"type": ["string", "null"]},
        "on": {"type": "boolean"},
        "ratio": {"type": "number"},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["to"],
}


@pytest.mark.parametrize(
    "value",
    [
        {"to": "a"},
        {
            "to": "a",
            "count": 9,
            "kind": "b",
            "tags": ["x", "y"],
            "note": None,
            "on": False,
            "ratio": 1,
            "map": {"k": 1},
        },
        {"to": "a", "count": 2.0},
    ],
)
def test_what_fits(value: object) -> None:
    assert faults(value, SCHEMA) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "arguments: must be object"),
        ({}, "arguments.to: is missing"),
        ({"to": ""}, "arguments.to: at least 1 characters"),
        ({"to": "secret"}, "arguments.to: at most 5 characters"),
        ({"to": 1}, "arguments.to: must be string"),
        ({"to": "a", "count": True}, "arguments.count: must be integer"),
        ({"to": "a", "count": 1.5}, "arguments.count: must be integer"),
        ({"to": "a", "count": 10}, "arguments.count: at most 9"),
        ({"to": "a", "count": 0}, "arguments.count: at least 1"),
        ({"to": "a", "kind": "c"}, "arguments.kind: must be one of 'a', 'b'"),
        ({"to": "a", "tags": ["x", 1]}, "arguments.tags[1]: must be string"),
        ({"to": "a", "tags": ["x", "y", "z"]}, "arguments.tags: at most 2 items"),
        ({"to": "a", "note": 1}, "arguments.note: must be string or null"),
        ({"to": "a", "on": 1}, "arguments.on: must be boolean"),
        ({"to": "a", "ratio": False}, "arguments.ratio: must be number"),
        ({"to": "a", "map": {"k": "v"}}, "arguments.map.(other): must be integer"),
    ],
)
def test_what_does_not_fit_is_named_without_its_value(value: object, said: str) -> None:
    assert faults(value, SCHEMA) == [said]
    assert "secret" not in said


def test_an_argument_that_the_tool_does_not_know_is_refused() -> None:
    assert "knows to, count" in faults({"to": "a", "bcc": "x"}, SCHEMA)[0]
    assert faults({"anything": 1}, {"type": "object"}) == []
    assert faults({"bcc": 1}, {**SCHEMA, "required": [], "additionalProperties": True}) == []

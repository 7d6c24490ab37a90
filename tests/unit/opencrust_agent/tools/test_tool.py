"""A tool's description says what policy needs, or is refused when it is made."""

from typing import Any

import pytest

from opencrust_agent.tools import Effect, ToolSpec

SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}}


def spec(**changes: Any) -> ToolSpec:
    return ToolSpec(
        **{"name": "mail", "description": "d", "parameters": SCHEMA, "effects": frozenset({Effect.SEND}), **changes}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Mail"}, "lower case"),
        ({"name": "m" * 65}, "64"),
        ({"name": "mail.send"}, "letters"),
        ({"effects": frozenset()}, "effects"),
        ({"parameters": {"type": "string"}}, "object"),
        ({"sensitive": frozenset({"too"})}, "too"),
    ],
)
def test_a_wrong_description_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**changes)


def test_only_what_only_reads_may_be_repeated() -> None:
    assert spec(effects=frozenset({Effect.READ})).repeatable
    assert not spec(effects=frozenset({Effect.READ, Effect.SEND})).repeatable
    assert not spec().repeatable


def test_what_is_not_said_is_taken_at_its_worst() -> None:
    assert spec().taints


def test_the_model_is_told_name_description_and_parameters_alone() -> None:
    offered = spec().offered()
    assert (offered.name, offered.description, offered.parameters) == ("mail", "d", SCHEMA)

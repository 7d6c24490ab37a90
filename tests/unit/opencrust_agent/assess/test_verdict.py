"""What is done about a score depends on where the text came from, and the rules file may say otherwise."""

import pytest

from opencrust_agent.assess import Verdict
from opencrust_agent.assess.verdict import FETCHED, OWNER, STRANGER, Levels, levels, verdict

THRESHOLDS = {"5": 0.5, "1": 0.7, "0.5": 0.8, "0.2": 0.9}


def test_a_person_is_flagged_and_only_a_stranger_is_blocked() -> None:
    assert verdict(0.99, THRESHOLDS, levels("user")) is Verdict.FLAG
    assert verdict(0.99, THRESHOLDS, levels("user", trusted=False)) is Verdict.BLOCK


@pytest.mark.parametrize(
    ("score", "wanted"),
    [(0.69, Verdict.PASS), (0.7, Verdict.FLAG), (0.8, Verdict.REPLACE), (0.9, Verdict.BLOCK)],
)
def test_fetched_material_gets_more_with_the_score(score: float, wanted: Verdict) -> None:
    for source in ("web", "tool", "file", "plugin", "never heard of"):
        assert verdict(score, THRESHOLDS, levels(source)) is wanted


def test_a_policy_takes_the_place_of_the_built_in_levels_by_source() -> None:
    own = {"web": Levels("5", None, None), "*": Levels(None, None, "1"), "stranger": Levels("5", None, None)}
    assert verdict(0.6, THRESHOLDS, levels("web", policy=own)) is Verdict.FLAG
    assert verdict(0.99, THRESHOLDS, levels("web", policy=own)) is Verdict.FLAG
    assert verdict(0.7, THRESHOLDS, levels("mcp", policy=own)) is Verdict.BLOCK
    assert levels("user", policy=own) == OWNER
    assert levels("user", trusted=False, policy=own) == own["stranger"]
    assert (levels("user"), levels("user", trusted=False), levels("file")) == (OWNER, STRANGER, FETCHED)

"""How many threads the demo model gets: too many make it ten times slower."""

import os
from pathlib import Path

import pytest

from opencrust_agent.demo.process import threads


@pytest.mark.parametrize(("cores", "wanted"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_all_cores_but_one_at_most_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, wanted: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert threads(tmp_path / "absent") == wanted


@pytest.mark.parametrize(
    ("quota", "wanted"), [("max 100000", 2), ("50000 100000", 1), ("200000 100000", 1), ("800000 100000", 2), ("", 2)]
)
def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, wanted: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert threads(tmp_path / "cpu.max") == wanted

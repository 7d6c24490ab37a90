import json

import pytest

from opencrust.bus.survey import Report, read_report

STATS = {"name": "agent", "id": "agent-1", "version": "0.1.0", "data": {"ready": True, "uptime": 2.5, "turns": 3}}


def test_a_report_is_read() -> None:
    assert read_report(json.dumps(STATS).encode()) == Report("agent", "agent-1", "0.1.0", True, 2.5, {"turns": 3})


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b'{"name": "agent"}', b"\xff"])
def test_what_is_no_report_is_none(data: bytes) -> None:
    assert read_report(data) is None


def test_ready_is_true_and_nothing_like_it() -> None:
    told = STATS | {"data": {"ready": "yes"}}
    report = read_report(json.dumps(told).encode())
    assert report is not None
    assert not report.ready

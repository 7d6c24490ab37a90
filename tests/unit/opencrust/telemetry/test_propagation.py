from __future__ import annotations

import pytest

from opencrust.telemetry import internal
from opencrust.telemetry.propagation import extract, inject

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_round_trip() -> None:
    headers = {"Nats-Msg-Id": "web:a:1"}
    with internal("step") as span:
        inject(headers)
    found = extract(headers)
    assert found is not None
    assert found.trace_id == span.get_span_context().trace_id
    assert found.span_id == span.get_span_context().span_id
    assert found.is_remote
    assert headers["Nats-Msg-Id"] == "web:a:1"


def test_reads_the_example_of_the_w3c_recommendation() -> None:
    found = extract({"traceparent": VALID})
    assert found is not None
    assert f"{found.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{found.span_id:016x}" == "b7ad6b7169203331"


def test_writes_nothing_outside_a_span() -> None:
    headers: dict[str, str] = {}
    inject(headers)
    assert headers == {}


def test_carries_neither_baggage_nor_tracestate() -> None:
    from opentelemetry import baggage, context

    stranger = {"traceparent": VALID, "tracestate": "vendor=chosen-by-a-stranger", "baggage": "user=42"}
    found = extract(stranger)
    assert found is not None
    assert not found.trace_state
    token = context.attach(baggage.set_baggage("secret", "value"))
    try:
        headers: dict[str, str] = {}
        with internal("step"):
            inject(headers)
    finally:
        context.detach(token)
    assert set(headers) == {"traceparent"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x" * 100_000,
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        "\x00\r\nevil: 1",
    ],
)
def test_a_malformed_header_is_as_good_as_none(value: str) -> None:
    assert extract({"traceparent": value}) is None


def test_missing_headers() -> None:
    assert extract(None) is None
    assert extract({}) is None

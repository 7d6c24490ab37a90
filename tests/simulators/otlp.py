"""A receiver of traces for tests: OTLP/HTTP in (protobuf and JSON), a subset of Jaeger's query API out.

Stands in for Jaeger where there is no container registry. By hand::

    .venv/bin/python tests/simulators/otlp.py 4318
    opencrust up … with OPENCRUST_OTLP_ENDPOINT=http://127.0.0.1:4318
    curl -s 'http://127.0.0.1:4318/api/traces?service=agent'

In a test::

    async with OtlpReceiver() as receiver:
        configure("agent", receiver.url)
        ...
        spans = await receiver.wait_for(3)

Query API: ``/api/services``, ``/api/services/{service}/operations``, ``/api/traces?service=&operation=&limit=``,
``/api/traces/{id}``. The newest 10,000 spans are kept.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class SpanSeen:
    """One received span; ids are lower-case hexadecimal, times nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: tuple[str, ...]
    events: tuple[str, ...]


class OtlpReceiver:
    """An HTTP server on 127.0.0.1 (another ``host`` only inside a container). ``raw`` holds every request body as it
    came: search it for canaries. ``status`` is what ``/v1/traces`` answers (set 503 to be an overloaded receiver);
    ``delay`` is in seconds.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host
        self.spans: deque[SpanSeen] = deque(maxlen=10_000)
        self.raw: list[bytes] = []
        self.status = 200
        self.delay = 0.0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> OtlpReceiver:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.post("/v1/traces", self._receive),
                web.get("/api/services", self._services),
                web.get("/api/services/{service}/operations", self._operations),
                web.get("/api/traces", self._find),
                web.get("/api/traces/{id}", self._one),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def wait_for(self, count: int, timeout: float = 10.0) -> list[SpanSeen]:
        """The spans, as soon as there are ``count``; TimeoutError says how many came."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.spans) < count:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"{len(self.spans)} of {count} spans after {timeout} s") from None
        return list(self.spans)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has already undone Content-Encoding
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.raw.append(body)
        await asyncio.sleep(self.delay)
        if self.status != 200:
            return web.Response(status=self.status)
        as_json = "json" in request.content_type
        if not as_json and request.content_type != "application/x-protobuf":
            return web.Response(status=415)
        try:
            self.spans.extend(_decode_json(body) if as_json else _decode_protobuf(body))
        except Exception as error:
            return web.Response(status=400, text=f"not OTLP: {type(error).__name__}: {error}")
        return web.json_response({}) if as_json else web.Response(content_type="application/x-protobuf")

    async def _services(self, _: web.Request) -> web.Response:
        return web.json_response({"data": sorted({span.service for span in self.spans})})

    async def _operations(self, request: web.Request) -> web.Response:
        service = request.match_info["service"]
        return web.json_response({"data": sorted({s.name for s in self.spans if s.service == service})})

    async def _find(self, request: web.Request) -> web.Response:
        service, operation = request.query.get("service"), request.query.get("operation")
        found = dict.fromkeys(
            span.trace_id
            for span in sorted(self.spans, key=lambda s: -s.start)
            if span.service == service and operation in (None, "", span.name)
        )
        return web.json_response({"data": [self._trace(i) for i in list(found)[: int(request.query.get("limit", 20))]]})

    async def _one(self, request: web.Request) -> web.Response:
        trace = self._trace(request.match_info["id"].lower())
        if not trace["spans"]:
            return web.json_response({"data": None, "errors": [{"code": 404, "msg": "trace not found"}]}, status=404)
        return web.json_response({"data": [trace]})

    def _trace(self, trace_id: str) -> dict[str, Any]:
        spans = sorted((s for s in self.spans if s.trace_id == trace_id), key=lambda s: s.start)
        return {
            "traceID": trace_id,
            "spans": [_jaeger_span(span) for span in spans],
            "processes": {s.service: {"serviceName": s.service, "tags": _tags(s.resource)} for s in spans},
        }


def _jaeger_span(span: SpanSeen) -> dict[str, Any]:
    tags = _tags({**span.attributes, "span.kind": span.kind})
    if span.failed:
        tags.append({"key": "error", "type": "bool", "value": True})
    parent = [{"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": span.parent_id}] if span.parent_id else []
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": parent,
        "startTime": span.start // 1000,
        "duration": (span.end - span.start) // 1000,
        "tags": tags,
        "logs": [],
        "processID": span.service,
    }


def _tags(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {bool: "bool", int: "int64", float: "float64"}
    return [{"key": k, "type": kinds.get(type(v), "string"), "value": v} for k, v in attributes.items()]


def _decode_protobuf(body: bytes) -> list[SpanSeen]:
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message = MessageToDict(ExportTraceServiceRequest.FromString(body))
    return list(_spans(message, lambda value: base64.b64decode(value).hex()))


def _decode_json(body: bytes) -> list[SpanSeen]:
    return list(_spans(json.loads(body), str.lower))


def _spans(message: dict[str, Any], identifier: Any) -> Iterable[SpanSeen]:
    for resource_spans in message.get("resourceSpans", []):
        resource = _attributes(resource_spans.get("resource", {}).get("attributes"))
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                yield SpanSeen(
                    trace_id=identifier(span["traceId"]),
                    span_id=identifier(span["spanId"]),
                    parent_id=identifier(span.get("parentSpanId") or ""),
                    service=str(resource.get("service.name", "?")),
                    name=span["name"],
                    kind=_kind(span.get("kind", 0)),
                    start=int(span["startTimeUnixNano"]),
                    end=int(span["endTimeUnixNano"]),
                    failed=span.get("status", {}).get("code") in ("STATUS_CODE_ERROR", 2),
                    attributes=_attributes(span.get("attributes")),
                    resource=resource,
                    links=tuple(identifier(link["spanId"]) for link in span.get("links", [])),
                    events=tuple(event.get("name", "") for event in span.get("events", [])),
                )


def _kind(value: int | str) -> str:
    names = ("unspecified", "internal", "server", "client", "producer", "consumer")
    return names[value] if isinstance(value, int) else value.removeprefix("SPAN_KIND_").lower()


def _attributes(items: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {item["key"]: _value(item.get("value")) for item in items or []}


def _value(value: dict[str, Any] | None) -> Any:
    if not value:
        return None
    kind, content = next(iter(value.items()))
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(item) for item in content.get("values", [])]
    if kind == "kvlistValue":
        return _attributes(content.get("values"))
    return content


async def main(port: int, host: str) -> None:
    async with OtlpReceiver(port, host) as receiver:
        print(f"receiving OTLP at {receiver.url}/v1/traces; ask {receiver.url}/api/traces?service=agent", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4318, (sys.argv[2:] or ["127.0.0.1"])[0]))
    except KeyboardInterrupt:
        sys.exit(0)

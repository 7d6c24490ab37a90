"""schemathesis over the OpenAPI document: whatever it makes up, answers are as the document says, and never a 5xx.

Bounded: the quick suite takes a few examples of each operation, the long one many.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from harness import BusServer
from opencrust.bus import Message, subjects
from opencrust_gateway.limits import Rate
from opencrust_gateway.settings import Limits
from simulators.web import running_gateway

UNLIMITED = Rate(burst=1e9, per_second=1e9)
LIMITS = Limits(requests=UNLIMITED, uploads=UNLIMITED, answer_time=2, body_time=2, upload_time=2)
STREAMS = "/v1/conversations/{name}/events"
"""Never ends, so it is not asked here."""


class Running:
    """A gateway in a loop of its own thread: schemathesis blocks."""

    def __init__(self, server: BusServer) -> None:
        self._server = server
        self._ready = threading.Event()
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.url = ""
        self.token = ""

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        await self._server.provision()
        async with running_gateway(self._server, limits=LIMITS) as gateway:
            agent = await self._server.connect("agent")

            async def refuse(message: Message) -> None:
                await agent.respond(message, b'{"v": 1, "error": "there is none"}')

            for template in (subjects.CTL_APPROVALS, subjects.CTL_PLUGINS):
                await agent.subscribe(subjects.wildcard(template), refuse, queue="agent")
            self.url, (self.token, _) = gateway.url, await gateway.bearer()
            self._ready.set()
            await self._end.wait()
        await self._server.close()


@pytest.fixture
def running(tmp_path: Any) -> Iterator[Running]:
    server = BusServer(tmp_path / "home")
    server.home.mkdir(mode=0o700)
    server.start()
    running = Running(server)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        server.stop()


@pytest.mark.parametrize(
    "examples", [2, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(900)])], ids=["short", "whole"]
)
def test_answers_are_as_the_document_says_and_never_our_fault(running: Running, examples: int) -> None:
    headers = {"Authorization": f"Bearer {running.token}"}
    schema = schemathesis.openapi.from_url(f"{running.url}/v1/openapi.json", headers=headers)
    statuses: dict[str, int] = {}
    operations = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == STREAMS or operation.path == "/v1/tokens/{id}":
            continue  # the second would revoke the token that we use
        operations += 1

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            phases=[Phase.generate],
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            answer = case.call(base_url=running.url, headers=headers, timeout=20)
            statuses[str(answer.status_code)] = statuses.get(str(answer.status_code), 0) + 1
            case.validate_response(
                answer, checks=[not_a_server_error, content_type_conformance, response_schema_conformance]
            )

        check()
    print(f"{operations} operations: {json.dumps(statuses)}")
    assert operations >= 20
    assert statuses.get("200", 0) >= operations // 2

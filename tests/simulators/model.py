"""A simulated model provider: OpenAI chat completions and Anthropic messages on one port, faults included.

    python -m simulators.model --port 8900          (with tests/ on PYTHONPATH)

POST …/chat/completions and POST …/messages, below any base path, answer by the scenario that the request's `model`
names (`--list` shows them; any unknown name echoes the last user text), unless scenarios are queued:

    POST   /control/queue      [ "429", {"text": "scripted"}, {"calls": [{"name": "t", "arguments": {}}]} ]
    DELETE /control/queue
    GET    /control/requests   the journal, keys left out;   DELETE empties it

In tests: `async with ModelSimulator() as simulator:` gives `.url`, `.queue(...)`, `.requests`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from simulators.model_replies import (
    SCENARIOS,
    CleanEnd,
    Cut,
    Pause,
    Reply,
    Step,
    anthropic_body,
    anthropic_steps,
    error_body,
    error_reply,
    openai_body,
    openai_steps,
    reply_for,
    scenario_from_json,
)


@dataclass(frozen=True)
class Received:
    """One request in the journal. `key` is what came as the key; the control API leaves it out."""

    format: str
    path: str
    model: str
    key: str
    body: dict[str, Any]
    at: float


class ModelSimulator:
    """`port` 0 picks a free one."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Received] = []
        self.answered = 0
        self.open_streams = 0
        self._port = port
        self._queue: deque[Reply] = deque()
        self._flaky: dict[str, int] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def queue(self, *replies: Reply | str) -> None:
        """What the next requests get, before scenarios by model name apply again."""
        self._queue.extend(SCENARIOS[reply] if isinstance(reply, str) else reply for reply in replies)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.post("/{base:.*}chat/completions", self._openai),
                web.post("/{base:.*}messages", self._anthropic),
                web.post("/control/queue", self._enqueue),
                web.delete("/control/queue", self._clear_queue),
                web.get("/control/requests", self._journal),
                web.delete("/control/requests", self._clear_journal),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "openai", request.headers.get("Authorization", "").removeprefix("Bearer "))

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "anthropic", request.headers.get("x-api-key", ""))

    async def _answer(self, request: web.Request, wire: str, key: str) -> web.StreamResponse:
        try:
            body = await request.json()
            problem = _problem(wire, body)
        except (ValueError, AttributeError):
            body, problem = {}, "the body is not a JSON object"
        model = str(body.get("model", ""))
        self.requests.append(
            Received(wire, request.path, model, key or request.headers.get("api-key", ""), body, time.time())
        )
        if problem:
            return _error(error_reply(400, "invalid_request_error", problem), key)
        reply = self._queue.popleft() if self._queue else self._by_name(model, body)
        await asyncio.sleep(reply.delay)
        if reply.fault == "hang":
            await asyncio.sleep(3600)
        if reply.status != 200:
            return _error(reply, key)
        if reply.framing == "html":
            return web.Response(text=reply.text, content_type="text/html")
        if reply.framing == "json" or not body.get("stream"):
            return web.json_response(openai_body(reply, body) if wire == "openai" else anthropic_body(reply, body))
        steps = openai_steps(reply, body) if wire == "openai" else anthropic_steps(reply, body)
        if reply.framing == "gzip":
            packed = gzip.compress(b"".join(step for step in steps if isinstance(step, bytes)))
            return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/event-stream"})
        self.open_streams += 1
        try:
            return await self._send(request, steps)
        finally:
            self.open_streams -= 1

    async def _send(self, request: web.Request, steps: list[Step]) -> web.StreamResponse:
        stream = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "x-request-id": "req_sim"}
        )
        await stream.prepare(request)
        for step in steps:
            match step:
                case bytes():
                    await stream.write(step)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Cut():
                    await asyncio.sleep(0.01)  # what was written shall arrive before the reset
                    assert request.transport is not None
                    request.transport.abort()
                    return stream
                case CleanEnd():
                    break
        else:
            self.answered += 1
        await stream.write_eof()
        return stream

    def _by_name(self, model: str, body: dict[str, Any]) -> Reply:
        name, _, argument = model.partition(":")
        if name == "flaky":  # fails the first N times (default 1), then echoes
            count = self._flaky[model] = self._flaky.get(model, 0) + 1
            return SCENARIOS["500"] if count <= int(argument or 1) else reply_for("echo", body)
        return reply_for(model, body)

    async def _enqueue(self, request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
            self._queue.extend([scenario_from_json(value) for value in wanted])
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"queued": len(self._queue)})

    async def _clear_queue(self, request: web.Request) -> web.Response:
        self._queue.clear()
        return web.json_response({"queued": 0})

    async def _journal(self, request: web.Request) -> web.Response:
        return web.json_response([{k: v for k, v in asdict(r).items() if k != "key"} for r in self.requests])

    async def _clear_journal(self, request: web.Request) -> web.Response:
        self.requests.clear()
        return web.json_response([])


def _problem(wire: str, body: dict[str, Any]) -> str:
    """What the real APIs refuse, so that our adapters' mistakes show here and not at a user's."""
    messages = body.get("messages")
    if not body.get("model") or not messages:
        return "model and messages are required"
    if wire == "openai":
        if "max_tokens" in body and "max_completion_tokens" in body:
            return "max_tokens and max_completion_tokens exclude each other"
        waiting: set[str] = set()
        for message in messages:
            if message["role"] == "tool":
                if message["tool_call_id"] not in waiting:
                    return "a tool message must follow the tool call that it answers"
                waiting.discard(message["tool_call_id"])
                continue
            if waiting:
                return "an assistant message with tool_calls must be followed by tool messages for each id"
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
            if message["role"] not in ("system", "developer", "user", "assistant"):
                return f"unknown role {message['role']}"
            if not message.get("content") and not waiting:
                return f"a {message['role']} message is empty"
        return "tool results are missing" if waiting else ""
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    if messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    if messages[-1]["role"] != "user":
        return "This model does not support assistant message prefill."
    uses: set[str] = set()
    for message in messages:
        if message["role"] not in ("user", "assistant"):
            return f'messages: unexpected role "{message["role"]}"'
        content = (
            message["content"]
            if isinstance(message["content"], list)
            else [{"type": "text", "text": message["content"]}]
        )
        if not content or any(block["type"] == "text" and not block["text"].strip() for block in content):
            return "messages: text content blocks must be non-empty"
        results = {block["tool_use_id"] for block in content if block["type"] == "tool_result"}
        if results != uses:
            return "messages: `tool_use` ids must have `tool_result` blocks immediately after"
        uses = {block["id"] for block in content if block["type"] == "tool_use"}
    return ""


def _error(reply: Reply, key: str) -> web.Response:
    headers = {"request-id": "req_sim"}
    if reply.retry_after is not None:
        headers["Retry-After"] = reply.retry_after
    if reply.status == 307:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/elsewhere"})
    body = json.dumps(error_body(reply)).replace("{key}", key)
    return web.Response(text=body, status=reply.status, headers=headers, content_type="application/json")


async def _serve(port: int) -> None:
    async with ModelSimulator(port) as simulator:
        print(f"simulated models, OpenAI and Anthropic, on {simulator.url}", flush=True)
        await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 (default) picks a free one")
    parser.add_argument("--list", action="store_true", help="print the scenarios that a model name can choose")
    arguments = parser.parse_args()
    if arguments.list:
        names = ["echo", "flaky[:N]", "deltas:N", "say:TEXT", "slow:MS", "delay:MS", *SCENARIOS]
        print("\n".join(names))
        return 0
    try:
        asyncio.run(_serve(arguments.port))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"cannot listen on port {arguments.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

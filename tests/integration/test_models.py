"""Models over real sockets against the simulated provider: every fault ends right, and no key gets out."""

import asyncio
import logging
import socket
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from opencrust_agent.models import (
    PRESETS,
    AllModelsFailed,
    Chain,
    Completion,
    Credential,
    ErrorKind,
    HttpModel,
    Message,
    ModelError,
    Request,
    Reset,
    RetryPolicy,
    Text,
    TextDelta,
    Timeouts,
    ToolResult,
    ToolSpec,
    Transport,
    endpoint,
    user,
)
from opencrust_agent.models import transport as transport_module
from simulators.model import ModelSimulator
from simulators.model_replies import HELLO, SCENARIOS, TIME, WEATHER, Reply

SECRET = "sk-live-5Hq0vYx2Lr8Zt"
QUICK = Timeouts(connect=1, first_byte=0.3, idle=0.3, total=3)
ASK = Request("be brief", (user("hi there"),))
WIRES = ["openai", "anthropic"]


class Key:
    def reveal_text(self) -> str:
        return SECRET


async def credential() -> Credential:
    return Key()


@pytest.fixture
async def simulator() -> AsyncIterator[ModelSimulator]:
    async with ModelSimulator() as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as opened:
        yield opened


def connect(
    at: ModelSimulator | str,
    transport: Transport,
    wire: str,
    model: str,
    timeouts: Timeouts = QUICK,
    name: str = "main",
) -> HttpModel:
    url = at if isinstance(at, str) else at.url
    made = endpoint(name, kind=wire, model=model, base_url=url, credential=credential, timeouts=timeouts)
    return HttpModel(made, transport)


async def ask(model: HttpModel | Chain, request: Request = ASK) -> tuple[str, Completion]:
    """What a screen shows in the end, and the completion."""
    shown = ""
    async for event in model.stream(request):
        match event:
            case TextDelta(text):
                shown += text
            case Reset():
                shown = ""
            case Completion():
                return shown, event
    raise AssertionError("no completion")


def calls(*wanted: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in wanted]


GOOD = {
    "ok": (HELLO, "stop", []),
    "empty": ("", "stop", []),
    "length": (HELLO, "length", []),
    "length_tool": ("let me see", "length", []),
    "tool": ("", "tool_calls", calls(WEATHER)),
    "tool_text": ("let me look. ", "tool_calls", calls(WEATHER)),
    "parallel": ("", "tool_calls", [*calls(WEATHER, TIME), ("no_arguments", {})]),
    "bytewise_tool": ("", "tool_calls", calls(WEATHER, TIME)),
    "broken_arguments": ("", "tool_calls", [("get_weather", {})]),
    "utf8_split": (HELLO, "stop", []),
    "surrogates": ("one 🙂 two \ufffd three", "stop", []),
    "null_finish": (HELLO, "stop", []),
    "no_done": (HELLO, "stop", []),
    "crlf": (HELLO, "stop", []),
    "comments": (HELLO, "stop", []),
    "json": (HELLO, "stop", []),
    "json_tool": ("", "tool_calls", calls(WEATHER, TIME)),
    "slow": (HELLO, "stop", []),
    "thinking": (HELLO, "stop", []),
    "echo": ("hi there", "stop", []),
}
BAD = {
    "429": ErrorKind.RATE_LIMIT,
    "quota": ErrorKind.AUTH,
    "500": ErrorKind.SERVER,
    "503": ErrorKind.OVERLOADED,
    "529": ErrorKind.OVERLOADED,
    "400": ErrorKind.BAD_REQUEST,
    "401": ErrorKind.AUTH,
    "404": ErrorKind.BAD_REQUEST,
    "context_window": ErrorKind.CONTEXT_WINDOW,
    "content_filter": ErrorKind.REFUSED,
    "redirect": ErrorKind.BAD_REQUEST,
    "html": ErrorKind.BAD_REQUEST,
    "refusal": ErrorKind.REFUSED,
    "hang": ErrorKind.TIMEOUT,
    "hang_headers": ErrorKind.TIMEOUT,
    "stall": ErrorKind.TIMEOUT,
    "stall_tool": ErrorKind.TIMEOUT,
    "truncate": ErrorKind.TRUNCATED,
    "truncate_tool": ErrorKind.TRUNCATED,
    "truncate_whole_tool": ErrorKind.TRUNCATED,
    "cut": ErrorKind.TRUNCATED,
    "cut_tool": ErrorKind.TRUNCATED,
    "garbage": ErrorKind.PROTOCOL,
    "error_event": None,  # each wire's own words
    "error_event_first": None,
    "gzip": ErrorKind.PROTOCOL,
}


def test_every_scenario_is_tested() -> None:
    assert GOOD.keys() | BAD.keys() >= SCENARIOS.keys()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("scenario", GOOD)
async def test_answers(simulator: ModelSimulator, transport: Transport, wire: str, scenario: str) -> None:
    text, finish, wanted = GOOD[scenario]
    shown, completion = await ask(connect(simulator, transport, wire, scenario))
    assert (shown, completion.text, completion.finish) == (text, text, finish)
    assert [(call.name, call.arguments) for call in completion.message.tool_calls] == wanted
    assert bool(scenario == "broken_arguments") == any(call.malformed for call in completion.message.tool_calls)
    assert completion.usage.reported
    assert (completion.provider, completion.message.origin) == ("main", "main")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("scenario", BAD)
async def test_faults(
    simulator: ModelSimulator, transport: Transport, wire: str, scenario: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        await ask(connect(simulator, transport, wire, scenario))
    assert time.monotonic() - started < 2.5
    error = caught.value
    own_words = ErrorKind.SERVER if wire == "openai" else ErrorKind.OVERLOADED
    assert error.kind is (BAD[scenario] or own_words)
    assert (error.provider, error.model) == ("main", scenario)
    if scenario == "429":
        assert error.retry_after == 1.0
    said = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error)) + caplog.text
    assert SECRET not in said
    assert SECRET[:8] not in said
    assert error.__context__ is None, "an inner error may hold the request's headers"
    assert len(simulator.requests) == 1, "no redirect followed, nothing repeated"
    assert simulator.requests[0].key == SECRET


CUT = [name for name in BAD if SCENARIOS[name].calls]


@pytest.mark.parametrize("wire", WIRES)
async def test_no_tool_call_leaves_an_unfinished_stream(
    simulator: ModelSimulator, transport: Transport, wire: str
) -> None:
    """Every cut tool stream, at every place where it can be cut, through a chain that then gets a good answer."""
    assert len(CUT) == 4
    for fault in ("truncate", "cut", "stall", "error_event", "garbage"):
        for at in range(1, 16, 2):
            broken = Reply("text first ", calls=(WEATHER,), fault=fault, at=at)
            simulator.queue(broken, "ok")
            quick = Timeouts(connect=1, first_byte=0.3, idle=0.1, total=3)
            chain = Chain([connect(simulator, transport, wire, "x", quick)], RetryPolicy(pause=0))
            shown, completion = await ask(chain)
            assert completion.message.tool_calls == ()
            assert shown == completion.text == HELLO


@pytest.mark.parametrize("wire", WIRES)
async def test_tools_there_and_back(simulator: ModelSimulator, transport: Transport, wire: str) -> None:
    """The simulator refuses what the real APIs refuse, so this holds our request bodies to them."""
    model = connect(simulator, transport, wire, "parallel")
    tools = tuple(ToolSpec(n, "", {"type": "object"}) for n in ("get_weather", "get_time", "no_arguments"))
    _, first = await ask(model, Request("s", (user("go"),), tools))
    results = tuple(ToolResult(call.id, f"{call.name} done") for call in first.message.tool_calls)
    shown, _ = await ask(model, Request("s", (user("go"), first.message, Message("user", results)), tools))
    assert shown == "results: get_weather done | get_time done | no_arguments done"


@pytest.mark.parametrize("kind", PRESETS)
async def test_every_preset_talks_and_uses_tools(simulator: ModelSimulator, transport: Transport, kind: str) -> None:
    """Address, key, body and parser of each preset, against its wire format's own rules."""
    made = endpoint("p", kind=kind, model="parallel", base_url=simulator.url, credential=credential)
    model = HttpModel(made, transport)
    tools = (ToolSpec("get_weather", "", {"type": "object"}),)
    asked = Request("s", (user("go"),), tools, max_tokens=321)
    _, first = await ask(model, asked)
    results = tuple(ToolResult(call.id, call.name) for call in first.message.tool_calls)
    hurried = (Text("and quickly"),) if kind != "mistral" else ()  # there, that is two turns
    answered = Message("user", (*results, *hurried))
    shown, _ = await ask(model, Request("s", (user("go"), first.message, answered), tools))
    assert shown == "results: get_weather | get_time | no_arguments"
    sent = simulator.requests[0]
    assert sent.key == SECRET
    assert sent.body.get("max_tokens") == 321 or sent.body.get("max_completion_tokens") == 321
    assert ("tools" in sent.body) is made.preset.supports_tools


async def test_fallback_over_the_wire(simulator: ModelSimulator, transport: Transport) -> None:
    broken = [connect(simulator, transport, "openai", name) for name in ("stall", "401", "context_window")]
    chain = Chain([*broken, connect(simulator, transport, "anthropic", "echo", name="second")], RetryPolicy(pause=0))
    shown, completion = await ask(chain)
    assert (shown, completion.provider) == ("hi there", "second")
    assert [link["last_error"] for link in chain.snapshot()] == ["timeout", "auth", "context_window", None]


async def test_a_flaky_provider_is_asked_again(simulator: ModelSimulator, transport: Transport) -> None:
    shown, _ = await ask(Chain([connect(simulator, transport, "openai", "flaky:2")], RetryPolicy(pause=0.01)))
    assert shown == "hi there"
    assert len(simulator.requests) == 3


async def test_all_fail_with_a_sentence(simulator: ModelSimulator, transport: Transport) -> None:
    chain = Chain([connect(simulator, transport, w, "500") for w in WIRES], RetryPolicy(attempts=1))
    with pytest.raises(AllModelsFailed, match=r"main: server: boom \(HTTP 500\); main: server: boom"):
        await ask(chain)


@pytest.mark.parametrize("how", ["close", "cancel"])
@pytest.mark.parametrize("scenario", ["stall", "hang_headers", "slow"])
async def test_stop_cuts_the_connection(
    simulator: ModelSimulator, transport: Transport, scenario: str, how: str
) -> None:
    patient = Timeouts(connect=9, first_byte=9, idle=9, total=9)
    model = connect(simulator, transport, "anthropic", scenario, patient)

    async def follow() -> None:
        async with aclosing(model.stream(ASK)) as events:
            async for event in events:
                if how == "close" and isinstance(event, TextDelta):
                    return

    task = asyncio.ensure_future(follow())
    if how == "cancel" or scenario == "hang_headers":
        while not simulator.open_streams:
            await asyncio.sleep(0.005)
        task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done()
    started = time.monotonic()
    while simulator.open_streams:
        await asyncio.sleep(0.005)
        assert time.monotonic() - started < 1, "the provider still streams"


async def test_connections_are_reused(simulator: ModelSimulator, transport: Transport) -> None:
    model = connect(simulator, transport, "openai", "ok")
    await ask(model)
    assert transport._session is not None
    connector = transport._session.connector
    assert connector is not None
    (kept,) = [protocol for waiting in connector._conns.values() for protocol, _ in waiting]
    await ask(model)
    assert [protocol for waiting in connector._conns.values() for protocol, _ in waiting] == [kept]


async def test_the_environments_proxy_and_netrc_are_not_used(
    simulator: ModelSimulator, transport: Transport, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await ask(connect(simulator, transport, "openai", "ok"))
    assert simulator.requests[0].key == SECRET


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{closed}", "cannot connect"),
        ("https://127.0.0.1:{open}", "no TLS connection"),
        ("http://does-not-exist.localhost.invalid.local", "cannot be resolved"),
    ],
)
async def test_nobody_there(simulator: ModelSimulator, transport: Transport, url: str, said: str) -> None:
    address = url.format(closed=free_port(), open=simulator.url.rpartition(":")[2])
    with pytest.raises(ModelError, match=said) as caught:
        await ask(connect(address, transport, "openai", "ok", Timeouts(connect=5)))
    assert caught.value.kind is ErrorKind.CONNECTION
    assert caught.value.__context__ is None


async def test_a_connection_that_is_never_accepted(transport: Transport) -> None:
    with socket.socket() as full:  # a listener whose backlog is full drops new handshakes
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
            waiting.append(sock)
        address = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(ModelError, match="no connection within") as caught:
            await ask(connect(address, transport, "openai", "ok", Timeouts(connect=0.2)))
        for sock in waiting:
            sock.close()
    assert caught.value.kind is ErrorKind.TIMEOUT


class Odd:
    """A server that sends whatever a test wants."""

    def __init__(
        self, *pieces: bytes, pause: float = 0, endless: bool = False, content_type: str = "text/event-stream"
    ):
        self.pieces, self.pause, self.endless, self.content_type = pieces, pause, endless, content_type

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": self.content_type})
        await stream.prepare(request)
        while True:
            for piece in self.pieces:
                await stream.write(piece)
                await asyncio.sleep(self.pause)
            if not self.endless:
                break
        return stream


async def test_comments_do_not_keep_a_call_alive_for_ever(transport: Transport) -> None:
    async with Odd(b": still there\n\n", pause=0.02, endless=True) as url:
        with pytest.raises(ModelError, match=r"no complete answer within 0\.5 s"):
            await ask(connect(url, transport, "openai", "x", Timeouts(first_byte=1, idle=1, total=0.5)))


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
async def test_an_endless_answer_is_cut(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    monkeypatch.setattr(transport_module, "MAX_ANSWER", 1 << 20)
    piece = b'data: {"choices":[{"index":0,"delta":{"content":""},"padding":"aaaaaaaaaaaa"}]}\n\n' * 500
    async with Odd(piece, endless=True, content_type=content_type) as url:
        with pytest.raises(ModelError, match="larger than 1 MiB") as caught:
            await ask(connect(url, transport, "openai", "x", Timeouts()))
    assert caught.value.kind is ErrorKind.PROTOCOL


async def test_token_counts_that_never_come_do_not_hold_up_a_whole_answer(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencrust_agent.models.http_model._AFTER_FINISH", 0.1)
    done = b'data: {"choices":[{"index":0,"delta":{"content":"whole"},"finish_reason":"stop"}]}\n\n'
    async with Odd(done, pause=5) as url:
        started = time.monotonic()
        shown, completion = await ask(connect(url, transport, "openai", "x", Timeouts()))
    assert time.monotonic() - started < 2
    assert (shown, completion.usage.reported) == ("whole", False)


async def test_the_key_is_fetched_for_every_request(simulator: ModelSimulator, transport: Transport) -> None:
    keys = iter(["first-key", "second-key"])

    class Rotating:
        def reveal_text(self) -> str:
            return next(keys)

    async def rotated() -> Credential:
        return Rotating()

    made = endpoint("p", kind="anthropic", model="ok", base_url=simulator.url, credential=rotated)
    model = HttpModel(made, transport)
    await ask(model)
    await ask(model)
    assert [request.key for request in simulator.requests] == ["first-key", "second-key"]


async def test_limits_of_the_endpoint_reach_the_wire(simulator: ModelSimulator, transport: Transport) -> None:
    made = endpoint("p", kind="openai", model="ok", base_url=simulator.url, max_output_tokens=50)
    await ask(HttpModel(made, transport), Request("", (user("hi"),), max_tokens=4000))
    assert simulator.requests[0].body["max_tokens"] == 50


async def test_a_transport_that_is_not_open() -> None:
    with pytest.raises(RuntimeError, match="async with Transport"):
        await ask(connect("http://127.0.0.1:1", Transport(), "openai", "x"))


async def by_sdk(wire: str, url: str, client: Any) -> str:
    messages: Any = [{"role": "user", "content": "hi"}]
    if wire == "openai":
        async with client.chat.completions.stream(model="deltas:50", messages=messages) as stream:
            return (await stream.get_final_completion()).choices[0].message.content or ""
    async with client.messages.stream(model="deltas:50", max_tokens=9, messages=messages) as stream:
        return await stream.get_final_text()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_message_costs_a_fraction_of_what_it_costs_with_the_sdk(
    simulator: ModelSimulator, transport: Transport, wire: str
) -> None:
    """CPU for 50 deltas, as a ratio in one run; the simulator's own share is in both figures."""
    model = connect(simulator, transport, wire, "deltas:50", Timeouts())
    client: Any = (
        openai.AsyncOpenAI(base_url=simulator.url + "/v1", api_key="k")
        if wire == "openai"
        else anthropic.AsyncAnthropic(base_url=simulator.url, api_key="k")
    )

    async def cost(call: Callable[[], Awaitable[Any]]) -> float:
        await call()
        best = 9.0
        for _ in range(5):
            started = time.process_time()
            for _ in range(5):
                await call()
            best = min(best, time.process_time() - started)
        return best

    async with client:
        ours, theirs = await cost(lambda: ask(model)), await cost(lambda: by_sdk(wire, simulator.url, client))
    assert ours < theirs / 2

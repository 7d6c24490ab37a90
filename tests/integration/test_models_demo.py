"""The real demo model in its real process. Skipped where its wheels are not installed."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import psutil
import pytest

import opencrust
import opencrust_agent
from opencrust_agent.demo import DemoModel, DemoProcess, NotInstalled, process, weights
from opencrust_agent.models import Completion, ModelError, Request, TextDelta, Transport, user

try:
    WEIGHTS = weights.find_weights()
except NotInstalled as absent:
    pytest.skip(f"{absent} (or requirements/demo.txt, for tests)", allow_module_level=True)

PARIS = Request("You are a helpful assistant.", (user("What is the capital of France?"),), max_tokens=64)
SOURCES = [str(Path(package.__file__ or "").parent.parent) for package in (opencrust, opencrust_agent)]


@pytest.fixture
async def demo() -> AsyncIterator[DemoModel]:
    async with Transport() as transport:
        model = DemoModel(transport)
        yield model
        await model.close()


async def ask(model: DemoModel, request: Request = PARIS) -> tuple[str, Completion]:
    shown = ""
    async for event in model.stream(request):
        match event:
            case TextDelta(text):
                shown += text
            case Completion():
                return shown, event
    raise AssertionError("no completion")


def child_of(model: DemoModel) -> psutil.Process:
    return psutil.Process(model.snapshot()["pid"])


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_gone(pid: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not gone(pid):
        assert time.monotonic() < end, "the process is still there"
        await asyncio.sleep(0.05)


async def test_it_answers(demo: DemoModel) -> None:
    assert demo.snapshot()["running"] is False
    shown, completion = await ask(demo)
    assert "Paris" in shown
    assert completion.text == shown
    assert (completion.finish, completion.provider, completion.model) == ("stop", "demo", "SmolLM2-135M")
    assert completion.usage.reported
    assert 0 < completion.usage.output_tokens < 64
    assert completion.message.tool_calls == ()


async def test_its_process(demo: DemoModel) -> None:
    """Polite, reachable from loopback only, behind a key that no one else can read."""
    await ask(demo)
    child = child_of(demo)
    assert child.nice() >= 10
    listening = [c.laddr for c in child.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    assert [address.ip for address in listening] == ["127.0.0.1"]
    async with demo._process.use() as serving:
        words = [*child.cmdline(), *child.environ().values()]
        assert serving.key not in "".join(words)
        assert serving.key not in repr(serving)
        async with aiohttp.ClientSession() as session:
            asked = {"messages": [{"role": "user", "content": "hi"}]}
            for path in ("/v1/chat/completions", "/completion", "/apply-template", "/slots"):
                async with session.post(serving.url + path, json=asked) as response:
                    assert response.status == 401, path
    assert child.memory_info().rss < 350 << 20


async def test_conversations_wait_for_each_other_and_share_it(demo: DemoModel) -> None:
    answers = await asyncio.gather(ask(demo), ask(demo), ask(demo))
    assert len({shown for shown, _ in answers}) == 1
    assert len([c for c in psutil.Process().children() if c.pid == child_of(demo).pid]) == 1


SYMBOLS = pytest.param("0x1f 9@# " * 2000, marks=pytest.mark.long, id="symbols")
ENGLISH = pytest.param("word " * 9000, marks=pytest.mark.long, id="english")


@pytest.mark.parametrize("text", [pytest.param("日本語 " * 3000, id="kanji"), ENGLISH, SYMBOLS])
async def test_what_does_not_fit_is_shortened(demo: DemoModel, text: str) -> None:
    _, completion = await ask(demo, Request("", (user(text),), max_tokens=2))
    assert completion.usage.input_tokens <= 2048


async def test_stop_ends_the_answer_at_once(demo: DemoModel) -> None:
    await ask(demo)
    endless = Request("", (user("Write a very long story about the sea."),), max_tokens=256)
    async with aclosing(demo.stream(endless)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert "Paris" in (await ask(demo))[0]  # it did not first finish the story
    assert time.monotonic() - started < 6


async def test_it_is_stopped_when_idle_and_comes_back() -> None:
    async with Transport() as transport:
        model = DemoModel(transport, DemoProcess(idle=0.2))
        await ask(model)
        first = child_of(model).pid
        await until_gone(first, 5)
        assert model.snapshot() == model.snapshot() | {"running": False, "pid": None}
        await ask(model)
        assert child_of(model).pid != first
        await model.close()


async def test_a_killed_process_is_started_again(demo: DemoModel) -> None:
    await ask(demo)
    child = child_of(demo)
    child.send_signal(signal.SIGKILL)
    await until_gone(child.pid, 5)
    assert "Paris" in (await ask(demo))[0]


async def test_cancelling_a_start_leaves_no_process() -> None:
    before = {c.pid for c in psutil.Process().children()}
    async with Transport() as transport:
        model = DemoModel(transport)
        task = asyncio.ensure_future(ask(model))
        await asyncio.sleep(0.15)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert model.snapshot()["running"] is False
    assert {c.pid for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE} <= before


async def test_damaged_weights_are_refused(demo: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "weights.gguf"
    damaged.write_bytes(b"GGUF" + bytes(1000))
    monkeypatch.setattr(process, "find_weights", lambda: damaged)
    with pytest.raises(ModelError, match="damaged"):
        await ask(demo)


async def test_a_start_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Transport() as transport:
        model = DemoModel(transport, DemoProcess(start_timeout=0.01))
        with pytest.raises(ModelError, match="did not load within"):
            await ask(model)
        assert model.snapshot()["running"] is False


AGENT = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from opencrust.confine import confine
    from opencrust_agent.demo import DemoModel
    from opencrust_agent.models import Completion, Request, Transport, user

    async def main():
        async with Transport() as transport:
            model = DemoModel(transport)
            async for event in model.stream(Request("", (user("What is the capital of France?"),), max_tokens=64)):
                if isinstance(event, Completion):
                    print(model.snapshot()["pid"], event.text, flush=True)
            await asyncio.sleep(60)

    if sys.argv[1:]:
        confine(home=Path(sys.argv[1]), read=[], write=[Path(sys.argv[1]) / "state"])
    asyncio.run(main())
""")


@pytest.mark.parametrize("confined", [True, False])
async def test_a_killed_agent_leaves_no_orphan(tmp_path: Path, confined: bool) -> None:
    """Also proves that the process starts inside the allow-list of a confined agent."""
    (tmp_path / "state").mkdir()
    environment = {"PYTHONPATH": os.pathsep.join(SOURCES), "PATH": os.environ["PATH"]}
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, *([str(tmp_path)] if confined else [])],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert agent.stdout is not None
        pid, _, said = (await asyncio.to_thread(agent.stdout.readline)).partition(" ")
        assert "Paris" in said
    finally:
        agent.kill()
        agent.wait()
        if agent.stdout:
            agent.stdout.close()
    await until_gone(int(pid), 5)

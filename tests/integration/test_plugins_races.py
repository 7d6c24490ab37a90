"""Plugins while something else happens: disabled as they start, removed as they compile, asked by many at once."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from channels import until
from guests import Lab, binary, guest, manifest, text
from harness import BusServer
from integration.test_plugins import LOOP, Operator
from opencrust.bus import subjects
from opencrust.bus.blobs import Blobs
from opencrust_agent.plugins import limits
from opencrust_agent.plugins.cache import Cache
from opencrust_agent.plugins.components import Components
from opencrust_agent.plugins.errors import PluginFault, PluginRefused
from opencrust_agent.plugins.processes import Processes
from simulators.conversation import agent

_STEP = "(loop (local.set 0 (i32.add (local.get 1) (local.get 2))) "
SLOW = f"(func (local {'i32 ' * 300}) {_STEP * 300}{')' * 300})" * 40
"""Takes a second or so to compile."""


def slow(mark: str = "") -> bytes:
    return binary(guest(core=SLOW, data=text(9000, mark)))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    await lab.close()


@pytest.fixture
async def operator(bus_server: BusServer) -> Operator:
    return Operator(await bus_server.connect("cli"))


class House:
    """Components of one replica over the real bus, with a lock that the test writes."""

    def __init__(self, components: Components, cache: Cache, processes: Processes, put: Any) -> None:
        self.components, self.cache, self.processes, self.put = components, cache, processes, put
        self.used: set[str] = set()

    def files(self) -> set[str]:
        return {path.name.partition("-")[0] for path in self.cache.directory.glob("*.cwasm")}


@pytest.fixture
async def house(bus_server: BusServer, tmp_path: Path) -> AsyncIterator[House]:
    cache, processes = Cache(tmp_path / "code"), Processes()
    put = Blobs(await bus_server.connect("cli"), "PLUGINS", subjects.plugin).put
    components = Components(await bus_server.connect("agent"), cache, processes, lambda: house.used)
    house = House(components, cache, processes, put)
    yield house
    await components.close()
    await processes.shut()


async def compiling(house: House) -> None:
    async with asyncio.timeout(5):
        while not house.processes.children:
            await asyncio.sleep(0.005)


async def test_what_is_removed_while_it_is_compiled_leaves_no_machine_code(house: House) -> None:
    wasm = await house.put(slow())
    house.used = {wasm}
    opening = asyncio.create_task(house.components.open(wasm, fuel=False))
    await compiling(house)
    house.used = set()
    await house.components.tidy()
    with pytest.raises(PluginRefused, match="removed meanwhile"):
        await opening
    assert house.files() == set()


async def test_tidying_leaves_alone_what_is_just_being_made(house: House) -> None:
    """Another plugin's record changes during a compile: the draft and its component stay."""
    wasm = await house.put(slow())
    house.components.look_at(wasm)
    opening = asyncio.create_task(house.components.open(wasm, fuel=False))
    await compiling(house)
    while not opening.done():
        await house.components.tidy()
        await asyncio.sleep(0.01)
    (await opening).close()
    assert house.files() == {wasm}
    await house.components.tidy()
    assert house.files() == {wasm}, "it may be agreed to soon"
    house.used = {wasm}
    house.components.agreed()
    house.used = set()
    await house.components.tidy()
    assert house.files() == set()


async def test_a_crash_in_the_middle_of_a_compile_leaves_nothing_for_ever(house: House) -> None:
    with house.cache.create() as draft:
        left = house.cache.directory / "draft-of-a-crash"
        left.write_bytes(b"half")
        assert draft.file.name is not None
    await house.components.tidy()
    assert not left.exists()


async def test_many_that_want_one_component_compile_it_once_and_to_the_end(house: House) -> None:
    """Also when those who wait lose patience: else a component that takes longer than a call never runs."""
    wasm = await house.put(slow())
    house.used = {wasm}
    opening = [asyncio.create_task(house.components.open(wasm, fuel=False)) for _ in range(5)]
    await compiling(house)
    assert len(house.processes.children) == 1
    for task in opening:
        task.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*opening, return_exceptions=True)
    )
    assert len(house.processes.children) == 1, "it goes on"
    async with asyncio.timeout(20):
        while not house.cache.has(wasm, fuel=False):
            await asyncio.sleep(0.02)
    (await house.components.open(wasm, fuel=False)).close()


async def test_disabled_while_it_starts_it_does_not_run(lab: Lab) -> None:
    running = lab.load(guest())
    go, code_open = asyncio.Event(), running._code.open

    async def late(*, fuel: bool) -> Any:
        await go.wait()
        return await code_open(fuel=fuel)

    running._code.open = late  # type: ignore[method-assign]
    calls = [asyncio.create_task(lab.call(running)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await running.retire()
    go.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [end.name for end in ends if isinstance(end, PluginFault)] == ["disabled"] * 3
    assert lab.processes.children == {}


async def test_disabled_while_it_runs_its_call_ends_and_says_why(lab: Lab) -> None:
    running = lab.load(guest(LOOP), timeout_ms=10_000, compute_ms=10_000)
    await running.describe()
    calling = asyncio.create_task(lab.call(running))
    await asyncio.sleep(0.05)
    started = time.monotonic()
    await running.retire()
    with pytest.raises(PluginFault, match="disabled: it was disabled, removed or replaced"):
        await calling
    assert time.monotonic() - started < 3
    assert lab.processes.children == {}


async def test_a_call_does_not_wait_longer_for_its_process_than_it_may_take(lab: Lab) -> None:
    running = lab.load(slow(), timeout_ms=100)
    started = time.monotonic()
    with pytest.raises(PluginFault, match="still being made ready"):
        await lab.call(running)
    assert time.monotonic() - started < 3


async def test_disabling_and_calling_at_once_ends_with_no_process(
    bus_server: BusServer, operator: Operator, tmp_path: Path
) -> None:
    async with agent(bus_server, tmp_path / "agent") as context:
        assert (await operator.install(binary(guest()), manifest(calls_per_minute=600))).error == ""
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02):
            calls = [asyncio.create_task(operator.ask("call", name="guest", arguments={})) for _ in range(5)]
            await asyncio.sleep(delay)
            await operator.ask("disable", name="guest")
            for reply in await asyncio.gather(*calls):
                assert reply.error == "" or "disabled" in reply.error, reply.error
            assert "disabled" in (await operator.ask("call", name="guest", arguments={})).error
            await until(lambda: context.facts()["plugins"]["running"] == [])  # type: ignore[index]
            await operator.ask("enable", name="guest")
        assert (await operator.ask("call", name="guest", arguments={})).error == ""


async def test_slow_installations_keep_nobody_from_disabling(
    bus_server: BusServer, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMPILE_WALL", 0.6)
    monkeypatch.setattr("opencrust_agent.plugins.desk._SLOW_WAITS", 0.5)
    put = Blobs(operator.bus, "PLUGINS", subjects.plugin).put
    bomb = binary(guest(core=SLOW * 4))
    async with agent(bus_server, tmp_path / "agent"):
        assert (await operator.install(binary(guest()), manifest())).error == ""
        looking = []
        for number in range(6):
            wasm = await put(bomb + bytes([0, 2, 1, number]))  # a custom section: another component each
            looking.append(
                asyncio.create_task(operator.ask("inspect", manifest=manifest(name=f"b{number}"), wasm=wasm))
            )
        await asyncio.sleep(0.1)
        started = time.monotonic()
        assert len((await operator.ask("list")).plugins) == 1
        assert (await operator.ask("call", name="guest", arguments={})).error == "", "its code is there already"
        assert not (await operator.ask("disable", name="guest")).plugins[0].enabled
        assert time.monotonic() - started < 1.6, "three of them take longer"
        errors = [reply.error for reply in await asyncio.gather(*looking)]
        assert sum("other plugins are being looked at: try again" in error for error in errors) >= 1, errors
        assert sum("compiling it was ended" in error for error in errors) >= 3, errors


async def test_an_agent_that_is_stopped_tells_those_who_wait(
    bus_server: BusServer, operator: Operator, tmp_path: Path
) -> None:
    wasm = await Blobs(operator.bus, "PLUGINS", subjects.plugin).put(binary(guest(core=SLOW * 4)))
    async with agent(bus_server, tmp_path / "agent") as context:
        looking = asyncio.create_task(operator.ask("inspect", manifest=manifest(), wasm=wasm))
        await asyncio.sleep(0.3)
        started = time.monotonic()
        context.stopping.set()
        assert "being stopped: ask again" in (await looking).error
        assert time.monotonic() - started < 5


async def test_what_could_not_be_compiled_is_not_tried_again_at_every_call(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    wasm = await house.put(slow())
    house.used = {wasm}
    with monkeypatch.context() as patch:
        patch.setattr(limits, "COMPILE_WALL", 0.1)
        with pytest.raises(PluginRefused, match="compiling it was ended"):
            await house.components.open(wasm, fuel=False)
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(PluginRefused, match="compiling it was ended"):
            await house.components.open(wasm, fuel=False)
    assert time.monotonic() - started < 0.5
    house.components.look_at(wasm)  # somebody wants to install it: now it may be another day
    (await house.components.open(wasm, fuel=False)).close()


async def test_another_replica_compiles_before_it_is_asked(
    bus_server: BusServer, operator: Operator, tmp_path: Path
) -> None:
    """A call would not wait as long as a component in Python takes to compile."""
    states = [tmp_path / "one", tmp_path / "two"]
    async with agent(bus_server, states[0], "agent-1"), agent(bus_server, states[1], "agent-2"):
        code = binary(guest())
        assert (await operator.install(code, manifest())).error == ""
        wasm = hashlib.sha256(code).hexdigest()
        await until(lambda: all(Cache(state / "plugins").has(wasm, fuel=False) for state in states))


async def test_a_log_is_one_line_each_and_bounded(bus_server: BusServer, operator: Operator, tmp_path: Path) -> None:
    """200 lines a call, and 200 in all; no escape sequence, no second line, no half of a message that does not fit."""
    line = "\x1b[2J\n2026-01-01 info installed by ann\u202e" + "🦀" * 500
    flood = f"""(local $n i32) (loop (call $log (i32.const 1) (i32.const 8192) (i32.const {len(line.encode())}))
      (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 400))))
      (call $answer (i32.const 0) (i32.const 0) (i32.const 0))"""
    async with agent(bus_server, tmp_path / "agent"):
        assert (await operator.install(binary(guest(flood, data=text(8192, line))), manifest())).error == ""
        for _ in range(3):
            assert (await operator.ask("call", name="guest", arguments={})).error == ""
        await asyncio.sleep(0.8)
        log = (await operator.ask("log", name="guest")).log
        assert len(log) == 200
        assert all(entry.isprintable() and len(entry) < 560 for entry in log)
        assert all("🦀" in entry or "dropped" in entry or "done in" in entry for entry in log)
        await operator.ask("remove", name="guest")
        assert "there is no plugin" in (await operator.ask("log", name="guest")).error


async def test_who_gives_up_while_a_process_is_forked_leaves_none_behind(lab: Lab) -> None:
    await lab.call(lab.load(guest()))
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.015):
        running = lab.load(guest())
        calling = asyncio.create_task(lab.call(running))
        await asyncio.sleep(delay)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await running.stop()

    def children() -> list[str]:
        return Path(f"/proc/{lab.processes.pid}/task/{lab.processes.pid}/children").read_text().split()

    await until(lambda: len(children()) == 1)  # the first one's; also no zombie

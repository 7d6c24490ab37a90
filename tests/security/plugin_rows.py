# ruff: noqa: E501 - WebAssembly text in long lines
"""The hostile table against an agent that runs: what each plugin tries there, and what was seen.

Each row attacks one live agent through what a person has (`opencrust plugins install`, `call`) or through what the model
has (a tool call in a chat), and ends with a chat turn that must be answered. The same rows are tried more closely, on the
plugins' processes alone, in test_plugins_hostile.py.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from channels import until
from guests import ECHO, HOST, binary, fetching, guest, manifest, text
from harness import BusServer
from integration.test_agent import configure, provider
from integration.test_plugins import Operator
from integration.test_tools import Talk, call
from opencrust.contracts.plugins import PluginsReply
from opencrust.credentials import Credentials, Secret
from opencrust.service import Context
from opencrust_agent.egress import Egress
from opencrust_agent.plugins import limits, storage
from opencrust_agent.plugins.cache import Cache
from opencrust_cli import plugins_package
from opencrust_cli.errors import CommandError
from security import test_plugins_hostile as closely
from security.test_plugins_hostile import BACK, CREDENTIAL, EVIL, HTTP, LARGE, LOOP, SECRET, STATE, TIGHT, WILD, number
from simulators.conversation import agent
from simulators.model import ModelSimulator
from simulators.model_replies import Reply

DEADLINE = 200


class Live:
    """An agent that runs, its operator, and somebody who chats."""

    def __init__(self, operator: Operator, talk: Talk, simulator: ModelSimulator, context: Context, state: Path, patch: pytest.MonkeyPatch) -> None:  # fmt: skip
        self.operator, self.talk, self.simulator, self.context = operator, talk, simulator, context
        self.state, self.patch = state, patch
        self.outside = closely.Outside()
        self.chats = 0

    async def install(self, name: str, component: str | bytes, more: str = "", **bounds: int) -> PluginsReply:
        code = binary(component) if isinstance(component, str) else component
        return await self.operator.install(code, manifest(name=name, more=more, **bounds))

    async def refused(self, name: str, component: str | bytes, wanted: str, **bounds: int) -> str:
        """It is not even installed; returns what is said."""
        started = time.monotonic()
        error = (await self.install(name, component, **bounds)).error
        assert re.search(wanted, error), (name, error)
        assert "fault of ours" not in error
        assert error.isprintable()
        return f"refused in {1000 * (time.monotonic() - started):.0f} ms: {error}"

    async def call(self, name: str, **arguments: str) -> tuple[PluginsReply, float]:
        """One call by the operator, and the ms that it took."""
        started = time.monotonic()
        reply = await self.operator.ask("call", name=name, arguments=arguments)
        return reply, 1000 * (time.monotonic() - started)

    async def fails(self, name: str, component: str, wanted: str, more: str = "", **bounds: int) -> str:
        """It is installed, and its call ends so: for the operator, and for the model in a chat."""
        bounds = {"timeout_ms": DEADLINE, **bounds}
        done = await self.install(name, component, more, **bounds)
        assert done.error == "", (name, done.error)
        await self.call(name, text="warm")
        reply, took = await self.call(name, text="x")
        assert re.search(wanted, reply.error), (name, reply)
        assert "fault of ours" not in reply.error
        results = await self.chat(name, uses=True)
        assert re.search(wanted, results), (name, results)
        if "timeout" in wanted:
            late = took - bounds["timeout_ms"]
            assert late < 1000, "the machine is shared; test_plugins_hostile.py holds 250 ms"
            return f"{reply.error}; {max(late, 0):.0f} ms after the deadline of {bounds['timeout_ms']} ms"
        return f"{reply.error}; after {took:.0f} ms"

    async def answers(self, name: str, component: str, wanted: str, more: str = "", **bounds: int) -> str:
        """It is installed, and its call gives what it may."""
        done = await self.install(name, component, more, **bounds)
        assert done.error == "", (name, done.error)
        reply, took = await self.call(name, text="x")
        assert reply.error == "", (name, reply.error)
        assert re.search(wanted, reply.text), (name, reply.text)
        return f"answers {reply.text[:60]!r} after {took:.0f} ms"

    async def chat(self, name: str, *, uses: bool = False) -> str:
        """A turn that must be answered, in which the model may call the plugin; returns what it was told of that."""
        self.chats += 1
        words = f"after {name}, {self.chats}"
        if uses:
            self.simulator.queue(Reply(calls=(call(f"{name.replace('-', '_')}_echo", text="x"),)))
        self.simulator.queue(Reply(words))
        await self.talk.say("go on", conversation=f"{name}-{self.chats}")
        heard = (await self.talk.hear()).text
        assert heard.startswith(words), (heard, words)  # more where it is not known whether something was done
        told = [m["content"] for m in self.simulator.requests[-1].body["messages"] if m["role"] == "tool"]
        return str(told[-1]) if uses else ""

    def worker(self, name: str) -> int:
        """The number of a plugin's process: a grandchild of this one."""
        for zygote in _children(os.getpid()):
            for worker in _children(zygote):
                if Path(f"/proc/{worker}/comm").read_text().strip() == f"oc-{name}":
                    return worker
        raise AssertionError(f"{name} has no process")


def _children(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(number_) for number_ in (thread / "children").read_text().split()]
    return found


Attack = Callable[[Live], Awaitable[str]]


@dataclass(frozen=True)
class Row:
    """One row of the table: its number, what the plugin tries, and the attack, which returns what was seen."""

    number: str
    what: str
    attack: Attack


def fails(component: str, wanted: str, more: str = "", **bounds: int) -> Callable[[str], Attack]:
    return lambda name: lambda live: live.fails(name, component, wanted, more, **bounds)


def refused(component: str | bytes, wanted: str, **bounds: int) -> Callable[[str], Attack]:
    return lambda name: lambda live: live.refused(name, component, wanted, **bounds)


def answers(component: str, wanted: str, more: str = "", **bounds: int) -> Callable[[str], Attack]:
    return lambda name: lambda live: live.answers(name, component, wanted, more, **bounds)


def on(attack: Callable[[Live, str], Awaitable[str]]) -> Callable[[str], Attack]:
    return lambda name: lambda live: attack(live, name)


GROW = f"""(local $n i32) (block (loop (br_if 1 (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
  (local.set $n (i32.add (local.get $n) (i32.const 1))) (br 0))) {number("(i32.shr_u (local.get $n) (i32.const 2))")}"""
TABLES = f"""(local $n i32) (block (loop (br_if 1 (i32.eq (table.grow $t (ref.null func) (i32.const 3000)) (i32.const -1)))
  (local.set $n (i32.add (local.get $n) (i32.const 1))) (br 0))) {number("(local.get $n)")}"""
TOUCH = f"""(drop (memory.grow (i32.const 1000)))
  (memory.fill (i32.const 65536) (i32.const 1) (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536))) {ECHO}"""
FILL = "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432)) (br 0)) (unreachable)"
LOGS = f"""(local $n i32) (loop (call $log (i32.const 1) (i32.const 8192) (i32.const 8192))
  (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000)))) {ECHO}"""
ASKS = f"(call $get (i32.const 8192) (i32.const 1) (i32.const 128)) {ECHO}"
KV = "[kv]\nmax_kib = 1024\n"


async def memory(live: Live, name: str) -> str:
    said = await live.answers(name, guest(TOUCH), "echo", memory_mib=64)
    status = Path(f"/proc/{live.worker(name)}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak < 200 * 1024
    return f"{said}; its process had {peak // 1024} MiB at most"


async def log_flood(live: Live, name: str) -> str:
    said = await live.answers(name, guest(LOGS, data=text(8192, "x" * 8192)), "echo", compute_ms=5000)
    await asyncio.sleep(0.7)
    lines = (await live.operator.ask("log", name=name)).log
    assert len(lines) == 200
    return f"{said}; {len(lines)} lines kept, the longest of {max(map(len, lines))} characters"


async def broken_host(live: Live, name: str) -> str:
    async def broken(self: object, key: str) -> str:
        raise KeyError("secret=abc")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage.Store, "get", broken)
        assert (await live.install(name, guest(ASKS, data=text(8192, "k")), KV)).error == ""
        reply, took = await live.call(name, text="x")
        told = await live.chat(name, uses=True)
    assert "secret=abc" not in reply.error + reply.text + told
    return f"{reply.error}; after {took:.0f} ms"


async def slow_host(live: Live, name: str) -> str:
    async def slow(self: object, key: str) -> str:
        await asyncio.sleep(2)
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage.Store, "get", slow)
        return await live.fails(name, guest(ASKS, data=text(8192, "k")), "timeout", KV)


async def bomb(live: Live, name: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "COMPILE_CPU", 1)
        return await live.refused(name, closely.BOMB, "more than 1 s of processor time")


async def abort(live: Live, name: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "COMPILE_MEMORY", TIGHT)
        return await live.refused(name, LARGE, r"makes the compiler fail \(SIG")


async def large(live: Live, name: str) -> str:
    folder = live.state / name
    folder.mkdir()
    (folder / "plugin.toml").write_text(manifest())
    with (folder / "plugin.wasm").open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(CommandError, match="more than 32768 KiB") as caught:
        plugins_package.read(folder)
    return (
        await live.refused(name, bytes(33 * limits.MiB), "more than")
        + f"; at the keyboard: {str(caught.value).rpartition('/')[2]}"
    )


async def linked(live: Live, name: str) -> str:
    folder = live.state / name
    folder.mkdir()
    (folder / "plugin.toml").write_text(manifest())
    (folder / "plugin.wasm").symlink_to("/etc/passwd")
    with pytest.raises(CommandError, match="is a link") as caught:
        plugins_package.read(folder)
    return f"refused: {str(caught.value).rpartition('/')[2]}"


async def tampered(live: Live, name: str) -> str:
    assert (await live.install(name, guest(data=text(9000, name)))).error == ""
    await live.call(name, text="x")
    await live.operator.ask("disable", name=name)  # its process ends
    wasm = (await live.operator.ask("list")).plugins[0].current.wasm
    code = next((live.state / "plugins").glob(f"{wasm}-*.cwasm"))
    data = bytearray(code.read_bytes())
    data[len(data) // 2] ^= 1
    code.chmod(0o600)
    code.write_bytes(data)
    await live.operator.ask("enable", name=name)
    reply, took = await live.call(name, text="x")
    assert reply.error == ""
    again = next((live.state / "plugins").glob(f"{wasm}-*.cwasm")).read_bytes()
    assert again != bytes(data)
    return f"its seal does not fit: compiled anew, answered after {took:.0f} ms"


async def other_settings(live: Live, name: str) -> str:
    component = guest(data=text(9000, name))
    assert (await live.install(name, component)).error == ""
    await live.call(name, text="x")
    await live.operator.ask("disable", name=name)
    wasm = (await live.operator.ask("list")).plugins[0].current.wasm
    assert (await live.install(f"{name}-fuel", component, fuel=50_000_000)).error == ""
    cache = Cache(live.state / "plugins")
    with cache.create() as draft:
        found = cache.open(wasm, fuel=True)
        assert found is not None
        with found:
            draft.file.write(found.read())
        draft.keep(wasm, fuel=False)
    await live.operator.ask("enable", name=name)
    reply, took = await live.call(name, text="x")
    assert reply.error == ""
    await live.operator.ask("remove", name=f"{name}-fuel")
    return f"the runtime refuses it: compiled anew, answered after {took:.0f} ms"


async def counting(live: Live, name: str) -> str:
    assert (await live.install(name, guest(STATE))).error == ""
    said = [(await live.call(name, text="x"))[0].text for _ in range(3)]
    assert said == ["1", "1", "1"]
    return f"a counter in its memory reads {', '.join(said)} in three calls"


async def trapped_state(live: Live, name: str) -> str:
    half = guest(
        f"(if (i32.load (i32.const 512)) (then (unreachable))) (i32.store (i32.const 512) (i32.const 1)) {LOOP}"
    )
    return await live.fails(name, half, "timeout") + "; the next call found fresh memory"


async def names(live: Live, name: str) -> str:
    escaped = "".join(f"\\{byte:02x}" for byte in EVIL.encode())
    named = guest(f"(call $x) {ECHO}", core=f'(func $x (export "{escaped}") (unreachable))')
    said = await live.fails(name, named, "trap")
    assert "SYSTEM" not in said
    assert said.isprintable()
    refusal = await live.refused(f"{name}-b", guest(describe=closely._described(EVIL)), "an argument's name must be")
    return f"{said}; and {refusal}"


async def rug_pull(live: Live, name: str) -> str:
    """The lock is changed, which is the same seen from the component."""
    assert (await live.install(name, guest())).error == ""
    bucket = live.context.bus.kv("plugins")
    entry = await bucket.get(name)
    assert entry is not None
    record = json.loads(entry.value)
    record["current"] |= {"description": "0" * 64, "consent": "1" * 64}
    await bucket.put(name, json.dumps(record).encode())

    async def known() -> bool:
        return (await live.operator.ask("list")).plugins[0].current.consent == "1" * 64

    await until(known)
    reply, _ = await live.call(name, text="x")
    assert "describes itself otherwise" in reply.error

    async def disabled() -> bool:
        return not (await live.operator.ask("list")).plugins[0].enabled

    await until(disabled)
    return f"{reply.error}; and disabled"


async def escaped(live: Live, name: str) -> str:
    """A worker that was taken over: what it may not do kills it (the filter is the same that it was locked with)."""
    for after in ("open('/etc/passwd').read()", "socket.socket()"):
        assert (await asyncio.to_thread(closely._escape, after)).returncode == -signal.SIGSYS
    assert (await live.install(name, guest(LOOP), timeout_ms=5000, compute_ms=5000)).error == ""
    calling = asyncio.create_task(live.call(name, text="x"))
    await until(lambda: name in live.context.facts()["plugins"]["running"])  # type: ignore[index]
    await asyncio.sleep(0.1)
    os.kill(live.worker(name), signal.SIGSYS)
    reply, _ = await calling
    assert "its process ended" in reply.error
    return f"open and socket: SIGSYS; its call: {reply.error}"


async def hanging(live: Live, name: str) -> str:
    assert (await live.install(name, guest(), timeout_ms=300)).error == ""
    await live.call(name, text="x")
    pid = live.worker(name)
    os.kill(pid, signal.SIGSTOP)
    reply, took = await live.call(name, text="x")
    assert "timeout" in reply.error
    await until(lambda: not Path(f"/proc/{pid}").exists())
    return f"{reply.error}; killed {took - 300:.0f} ms after the deadline of 300 ms"


async def urls(live: Live, name: str) -> str:
    """One guest that asks for all of them; what is granted answers, the rest is refused and asked of nobody."""
    wanted = [(m, u, h, ok) for m, u, h, ok in closely.URLS if len(u) < 4000 and "\r" not in u]
    data, calls, at = "", "", 16384
    for method, url, headers, _ in wanted:
        asked = json.dumps({"method": method, "url": url, "headers": headers}).encode()
        data += text(at, asked)
        calls += f"(call $fetch (i32.const {at}) (i32.const {len(asked)}) (i32.const 128)) (local.set $n (i32.add (local.get $n) (i32.load8_u (i32.const 128))))"
        at += len(asked)
    asking = guest(f"(local $n i32) {calls} {number('(local.get $n)')}", data=data, memory="4", realloc=closely_at(at))
    before = len(live.outside.asked)
    said = await live.answers(name, asking, ".", HTTP + WILD, http_calls=50)
    reply, _ = await live.call(name, text="x")
    refused_, granted = ord(reply.text) - 48, sum(ok for *_, ok in wanted)
    assert refused_ == len(wanted) - granted
    assert len(live.outside.asked) - before == 2 * granted
    assert said
    return f"{refused_} of {len(wanted)} refused before anybody was asked, {granted} legitimate ones answered"


def closely_at(top: int) -> str:
    """A realloc that begins above a guest's data."""
    return f"""(local $at i32)
      (if (i32.lt_u (global.get $top) (i32.const {top})) (then (global.set $top (i32.const {top}))))
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3))) (local.get $at)"""


async def asks(live: Live, name: str, request: dict[str, Any], more: str) -> str:
    """The host's answer to one request of a guest."""
    before = len(live.outside.asked)
    done = await live.install(name, fetching(request), more)
    assert done.error == "", done.error
    reply, _ = await live.call(name, text="x")
    return f"{len(live.outside.asked) - before} sent; {reply.error or reply.text}"


async def rebinding(live: Live, name: str) -> str:
    found = []
    for number_, host in enumerate(("rebind", "mixed", "meta", "v6", "nat64", "cgn")):
        said = await asks(live, f"{name}-{'abcdef'[number_]}", {"url": f"https://{host}.example.com/"}, WILD)
        assert said.startswith("0 sent; refused: "), said
        assert "not public" in said
        found.append(host)
        await live.operator.ask("remove", name=f"{name}-{'abcdef'[number_]}")
    return f"{len(found)} names with inside addresses ({', '.join(found)}): refused, nothing sent"


async def redirect(live: Live, name: str) -> str:
    live.outside.status = 302
    said = await asks(live, name, {"url": "https://a.example.com/"}, WILD)
    live.outside.status = 200
    assert said.startswith("1 sent")
    assert '"status": 302' in said
    return "the 302 is given back, 1 request made"


async def headers(live: Live, name: str) -> str:
    said = await asks(live, name, {"url": "https://a.example.com/", "headers": {"Authorization": "Bearer x"}}, WILD)
    assert said.startswith("0 sent; refused: ")
    return said


async def foreign_credential(live: Live, name: str) -> str:
    said = await asks(live, name, {"url": "https://a.example.com/", "credential": "gh"}, HTTP + WILD + CREDENTIAL)
    assert said.startswith("0 sent; refused: the credential")
    return said


async def echoed_credential(live: Live, name: str) -> str:
    live.outside.body = b"you sent ECHO"
    request = {"url": "https://api.github.com/repos/a", "credential": "gh"}
    said = await asks(live, name, request, HTTP + CREDENTIAL)
    assert live.outside.asked[-1][2]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in said
    assert "you sent Bearer [secret]" in said
    return "the server got it; the plugin read 'you sent Bearer [secret]'"


async def exfiltration(live: Live, name: str) -> str:
    asked = json.dumps({"url": "https://a.example.com/"})
    often = guest(
        f"""(local $n i32) (loop (call $fetch (i32.const 8192) (i32.const {len(asked)}) (i32.const 128))
      (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20)))) {BACK}""",
        data=text(8192, asked),
    )
    before = len(live.outside.asked)
    done = await live.install(name, often, WILD)
    said = " ".join(done.plugins[0].current.permissions)
    assert "What you tell it can reach any one-label subdomain of example.com" in said
    reply, _ = await live.call(name, text="x")
    assert "more than 10 requests" in reply.text
    assert len(live.outside.asked) - before == 10
    return f"the question says so; 10 of 20 requests made, then: {reply.text}"


async def keeping(live: Live, name: str) -> str:
    """300 keys where 256 may be, a value of 70,000 bytes, and the key of another plugin."""
    keys = """(local $n i32) (local $bad i32)
      (loop (i32.store8 (i32.const 8192) (i32.add (i32.const 65) (i32.shr_u (local.get $n) (i32.const 6))))
        (i32.store8 (i32.const 8193) (i32.add (i32.const 48) (i32.and (local.get $n) (i32.const 63))))
        (call $set (i32.const 8192) (i32.const 2) (i32.const 8192) (i32.const 1) (i32.const 128))
        (local.set $bad (i32.add (local.get $bad) (i32.load8_u (i32.const 128))))
        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300)))) """
    assert (await live.install(name, guest(keys + number("(local.get $bad)")), KV, timeout_ms=30_000)).error == ""
    reply, took = await live.call(name, text="x")
    assert reply.text == chr(48 + 300 - 256), reply
    set_large = f"(call $set (i32.const 8192) (i32.const 1) (i32.const 8192) (i32.const 70000) (i32.const 128)) {BACK}"
    assert (
        await live.install(f"{name}-b", guest(set_large, data=text(8192, "k" * 70_000), memory="3"), KV)
    ).error == ""
    large_, _ = await live.call(f"{name}-b", text="x")
    assert (large_.failed, large_.text) == (True, "a value may have 64 KiB")
    foreign = guest(
        f"(call $get (i32.const 8192) (i32.const 2) (i32.const 128)) {number('(i32.load8_u (i32.const 128))')}",
        data=text(8192, "A0"),
    )
    assert (await live.install(f"{name}-c", foreign, KV)).error == ""
    assert (await live.call(f"{name}-c", text="x"))[0].text == "0", "none"
    for more in ("b", "c"):
        await live.operator.ask("remove", name=f"{name}-{more}")
    return f"256 of 300 keys kept ({took:.0f} ms); a value of 70,000 bytes: {large_.text}; another's key: nothing there"


async def often(live: Live, name: str) -> str:
    assert (await live.install(name, guest(), calls_per_minute=5)).error == ""
    ends = [(await live.call(name, text="x"))[0].error for _ in range(8)]
    assert [bool(end) for end in ends] == [False] * 5 + [True] * 3
    return f"5 of 8 answered, then: {ends[-1]}"


async def mixing(live: Live, name: str) -> str:
    trapping, echoing = f"{name}-a", f"{name}-b"
    assert (await live.install(trapping, guest("(unreachable)"), calls_per_minute=600)).error == ""
    assert (await live.install(echoing, guest(), calls_per_minute=600)).error == ""

    async def repeated(which: str) -> list[PluginsReply]:
        return [(await live.call(which, text=f"{n}"))[0] for n in range(40)]

    traps, echoes = await asyncio.gather(repeated(trapping), repeated(echoing))
    assert all("trap" in reply.error for reply in traps)
    assert [json.loads(reply.text)["arguments"]["text"] for reply in echoes] == [f"{n}" for n in range(40)]
    assert live.worker(trapping) != live.worker(echoing)
    for which in (trapping, echoing):
        await live.operator.ask("remove", name=which)
    return "40 traps and 40 answers at once, none in the other's place; two processes"


MODULES = "".join(f"(core instance (instantiate $libc)) ;; {n}\n" for n in range(11))
SMALL = "(core module $small (func))" + "".join(f"(core instance $s{n} (instantiate $small))" for n in range(60))
TYPES = "(type $t0 (tuple u8 u8))" + "".join(f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 41))
IMPORT = closely._importing
_ASYNC = (
    closely._typed("(result string (error string))")
    .replace("(realloc $r))))", '(realloc $r) async (callback (core func $i "cb")))))')
    .replace(
        '(func (export "c")', '(func (export "cb") (param i32 i32 i32) (result i32) (i32.const 0)) (func (export "c")'
    )
)
_TABLE: tuple[tuple[str, str, Callable[[str], Attack]], ...] = (
    ("1", "loops for ever in `call`", fails(guest(LOOP), "timeout")),
    ("2", "the same, its instructions counted", fails(guest(LOOP), "fuel", fuel=20_000_000, timeout_ms=5000)),
    ("3", "loops in its start function", refused(guest(core="(func $s (loop (br 0))) (start $s)"), "timeout", compute_ms=DEADLINE)),
    ("4", "loops while it is given its input", fails(guest(realloc=LOOP), "timeout")),
    ("5", "loops in `describe`", refused(guest(describe_body=LOOP), "timeout", compute_ms=DEADLINE)),
    ("6", "grows its memory until it fails", answers(guest(GROW), "^7$", memory_mib=32)),
    ("7", "wants 4 GiB at once", refused(guest(memory="65536"), "too-large")),
    ("8", "touches all the memory that it may have", on(memory)),
    ("9", "has more than ten memories", refused(guest(outer=MODULES), "too-large")),
    ("10", "grows a table until it fails", answers(guest(TABLES, core="(table $t 1 funcref)"), "^6$")),
    ("11", "wants a table of ten million", refused(guest(core="(table 10000000 funcref)"), "too-large")),
    ("12", "calls itself without end", fails(guest("(call $call (local.get 0) (local.get 1))"), "trap")),
    ("13", "fills its memory in a loop", fails(guest(FILL, memory="512"), "timeout")),
    ("14", "answers with 15 MB", fails(guest("(call $answer (i32.const 0) (i32.const 16384) (i32.const 15000000))", memory="256"), "output-too-large", timeout_ms=3000)),
    ("15", "points outside its memory", fails(guest("(i32.const 0x7fffff00)"), "bad-output")),
    ("16", "answers with what is neither result nor error", fails(guest("(call $answer (i32.const 9) (i32.const 0) (i32.const 0))"), "bad-output|trap")),
    ("17", "answers with what is not UTF-8", fails(guest("(call $answer (i32.const 0) (i32.const 8192) (i32.const 4))", data=text(8192, b"\xff\xfe\xfd\xfc")), "bad-output")),
    ("18", "gives memory that it does not have", fails(guest(realloc="(i32.const 0xffffff00)"), "bad-output|trap")),
    ("19", "pointer and length overflow", fails(guest("(call $answer (i32.const 0) (i32.const 0xfffffff0) (i32.const 0x20))"), "bad-output|trap")),
    ("20", "has a list of a million in its interface", refused(closely._typed("(list u32)"), "its type is not that of the world")),
    ("21", "has a list of 15 million booleans in it", refused(closely._typed("(list bool)"), "its type is not that of the world")),
    ("22", "asks the host without end", fails(guest("(loop (drop (call $now)) (br 0)) (unreachable)"), "host-calls", timeout_ms=5000)),
    ("23", "logs 1,000 lines of 8 KiB", on(log_flood)),
    ("24", "makes a host function of ours break", on(broken_host)),
    ("25", "waits in a host function that is slow", on(slow_host)),
    ("26", "imports `env.system`", refused(IMPORT('(import "env" (instance (export "system" (func (param "x" string)))))'), "imports 'env'")),
    ("27", "imports WASI", refused(IMPORT('(import "wasi:cli/environment@0.2.0" (instance))'), "imports 'wasi:cli")),
    ("28", "imports a host function with another type", refused(guest().replace('(export "now-ms" (func (result u64)))', '(export "now-ms" (func (result s64)))'), "import now-ms: its type")),
    ("29", "imports another version of the host", refused(guest(wanted=HOST.replace("0.1.0", "0.2.0")), re.escape("agent:plugin/host@0.2.0"))),
    ("30", "uses threads and atomics", refused(guest(core="(func (drop (i32.atomic.load (i32.const 0))))"), "does not compile")),
    ("31", "uses the asynchronous interface", refused(_ASYNC, "does not compile")),
    ("32", "takes minutes to compile (limit here: 1 s of processor time)", on(bomb)),
    ("33", "has 100 MB, or 33 MiB on the bus", on(large)),
    ("33b", "makes the compiler abort (limit here: 250 MiB)", on(abort)),
    ("34", "has 60 core instances", refused(guest(outer=SMALL), "too-large")),
    ("35", "has types that nest to 2^40", refused(guest(outer=TYPES), "does not compile")),
    ("36", "its machine code was changed on the disk", on(tampered)),
    ("37", "its machine code is of other settings", on(other_settings)),
    ("38", "finds half-written memory after a trap", on(trapped_state)),
    ("39", "keeps something from one call to the next", on(counting)),
    ("40", "speaks through names: escape codes, orders", on(names)),
    ("41", "exports no `call`", refused(guest(exports='(func (export "describe") (result string) (canon lift (core func $i "describe") (memory $mem)))'), "does not export the function")),
    ("42", "describes itself otherwise later", on(rug_pull)),
    ("43", "broke out of WebAssembly: opens files, sockets", on(escaped)),
    ("44", "its process hangs in native code", on(hanging)),
    ("45", "imports WASI's files", refused(IMPORT('(import "wasi:filesystem/preopens@0.2.0" (instance))'), "imports 'wasi:filesystem")),
    ("46", "imports WASI's clock, to sleep", refused(IMPORT('(import "wasi:clocks/monotonic-clock@0.2.0" (instance))'), "imports 'wasi:clocks")),
    ("47", "imports WASI's streams, to fill the disk", refused(IMPORT('(import "wasi:io/streams@0.2.0" (instance))'), "imports 'wasi:io")),
    ("48", "its package has a link to /etc/passwd", on(linked)),
    ("49", "tricks with URLs", on(urls)),
    ("50", "asks names that lead inside", on(rebinding)),
    ("51", "is redirected to another host", on(redirect)),
    ("52", "sets the header Authorization", on(headers)),
    ("53", "uses a credential at another host", on(foreign_credential)),
    ("54", "has a server give its credential back", on(echoed_credential)),
    ("55", "sends to a host that was agreed to, again and again", on(exfiltration)),
    ("56", "keeps 300 keys, 70,000 bytes, reads another's", on(keeping)),
    ("57", "is called too often", on(often)),
    ("58", "its failures come up in another plugin's calls", on(mixing)),
)  # fmt: skip
ROWS = tuple(Row(number_, what, attack(f"row-{number_}")) for number_, what, attack in _TABLE)


@dataclass(frozen=True)
class Seen:
    """What a row came to."""

    row: Row
    outcome: str
    answered: float
    """ms that the chat turn after it took."""


@asynccontextmanager
async def house(server: BusServer, directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    """An agent whose way to the internet ends at a server of ours that echoes, after every check."""
    async with ModelSimulator() as simulator:
        await configure(server, provider(simulator))
        talk = Talk(await server.connect("gateway"))
        await talk.start()
        operator = Operator(await server.connect("cli"))

        async def lease(self: Credentials, name: str, *, purpose: str) -> Secret:
            assert (name.endswith(".gh"), purpose) == (True, "plugin")
            return Secret(SECRET.encode(), name=name, version=1)

        patch.setattr(Credentials, "get", lease)
        patch.setattr("opencrust_agent.egress.client.SystemResolver", closely.Names)
        state = directory / "agent"
        async with agent(server, state) as context:
            live = Live(operator, talk, simulator, context, state, patch)

            async def once(egress: Egress, target: Any, method: str, given: Any, body: bytes | None, limit: int) -> Any:
                await egress.checked(target)
                return await closely.Outside._once(live.outside, target, method, given, body, limit)

            patch.setattr(Egress, "_once", once)
            yield live


async def attack(live: Live, row: Row) -> Seen:
    """One row, and the chat after it."""
    outcome = await row.attack(live)
    started = time.monotonic()
    await live.chat(f"row-{row.number}")
    answered = 1000 * (time.monotonic() - started)
    assert live.context.is_ready
    for plugin in (await live.operator.ask("list")).plugins:
        await live.operator.ask("remove", name=plugin.name)
    return Seen(row, outcome, answered)

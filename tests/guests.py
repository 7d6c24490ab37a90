"""Plugins for tests: tiny components in WebAssembly text, good ones and hostile ones, and a place to run them."""

import hashlib
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import wasmtime

from opencrust_agent.egress import Egress
from opencrust_agent.plugins.broker import Broker
from opencrust_agent.plugins.cache import Cache
from opencrust_agent.plugins.host import HostCalls
from opencrust_agent.plugins.manifest import Manifest, read
from opencrust_agent.plugins.processes import Processes
from opencrust_agent.plugins.running import Running

HOST = "agent:plugin/host@0.1.0"
TOOLS = {
    "tools": [
        {
            "name": "echo",
            "description": "Give back what it is given.",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        }
    ]
}
_HOST_TYPES = f"""(import "{HOST}" (instance $h
    (type $l (enum "debug" "info" "warn" "error")) (export "level" (type $level (eq $l)))
    (export "log" (func (param "level" $level) (param "message" string)))
    (export "now-ms" (func (result u64)))
    (export "kv-get" (func (param "key" string) (result (option string))))
    (export "kv-set" (func (param "key" string) (param "value" string) (result (result string (error string)))))
    (export "http-fetch" (func (param "request-json" string) (result (result string (error string)))))))"""
_LOWERED = """(core func $log (canon lower (func $h "log") (memory $mem) (realloc $realloc)))
  (core func $now (canon lower (func $h "now-ms")))
  (core func $get (canon lower (func $h "kv-get") (memory $mem) (realloc $realloc)))
  (core func $set (canon lower (func $h "kv-set") (memory $mem) (realloc $realloc)))
  (core func $fetch (canon lower (func $h "http-fetch") (memory $mem) (realloc $realloc)))"""
_CORE_IMPORTS = """(import "h" "log" (func $log (param i32 i32 i32)))
    (import "h" "now" (func $now (result i64)))
    (import "h" "get" (func $get (param i32 i32 i32)))
    (import "h" "set" (func $set (param i32 i32 i32 i32 i32)))
    (import "h" "fetch" (func $fetch (param i32 i32 i32)))"""
_GIVEN = """(with "h" (instance (export "log" (func $log)) (export "now" (func $now)) (export "get" (func $get))
    (export "set" (func $set)) (export "fetch" (func $fetch))))"""
ECHO = "(call $answer (i32.const 0) (local.get 0) (local.get 1))"
BUMP = """(local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (local.get $at)"""


def guest(
    call: str = ECHO,
    *,
    describe: str | None = None,
    realloc: str = BUMP,
    memory: str = "1",
    core: str = "",
    libc: str = "",
    data: str = "",
    outer: str = "",
    exports: str | None = None,
    describe_body: str = "(i32.const 64)",
    wanted: str = HOST,
) -> str:
    """A component of the world `tool`. `call` is the body of ``call(ptr, len) -> result*``; text data lies at 8192.

    $answer(tag, ptr, len) makes a result; $log, $now, $get, $set, $fetch are the host's.
    """
    said = (json.dumps(TOOLS) if describe is None else describe).encode()
    header = (4096).to_bytes(4, "little") + len(said).to_bytes(4, "little")
    if exports is None:
        exports = """(func (export "describe") (result string)
    (canon lift (core func $i "describe") (memory $mem)))
  (func (export "call") (param "input-json" string) (result (result string (error string)))
    (canon lift (core func $i "call") (memory $mem) (realloc $realloc)))"""
    return f"""(component
  {_HOST_TYPES.replace(HOST, wanted)}
  (core module $libc (memory (export "mem") {memory}) (global $top (mut i32) (i32.const 16384)) {libc}
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
  (core instance $c (instantiate $libc))
  (alias core export $c "mem" (core memory $mem))
  (alias core export $c "realloc" (core func $realloc))
  {_LOWERED}
  (core module $m (import "c" "mem" (memory {memory.split()[0]})) {_CORE_IMPORTS} {core}
    (data (i32.const 64) "{_escaped(header)}") (data (i32.const 4096) "{_escaped(said)}") {data}
    (func $answer (param i32 i32 i32) (result i32)
      (i32.store (i32.const 96) (local.get 0)) (i32.store (i32.const 100) (local.get 1))
      (i32.store (i32.const 104) (local.get 2)) (i32.const 96))
    (func (export "describe") (result i32) {describe_body})
    (func $call (export "call") (param i32 i32) (result i32) {call}))
  (core instance $i (instantiate $m (with "c" (instance $c)) {_GIVEN}))
  {outer}
  {exports})"""


def text(at: int, value: str | bytes) -> str:
    """A data segment."""
    return f'(data (i32.const {at}) "{_escaped(value if isinstance(value, bytes) else value.encode())}")'


def fetching(request: dict[str, Any]) -> str:
    """A guest that makes one request and gives back the host's answer as it is: tag, pointer and length at 128."""
    asked = json.dumps(request)
    return guest(
        f"""(call $fetch (i32.const 8192) (i32.const {len(asked)}) (i32.const 128))
        (call $answer (i32.load (i32.const 128)) (i32.load (i32.const 132)) (i32.load (i32.const 136)))""",
        data=text(8192, asked),
        memory="40",
    )


def binary(wat: str) -> bytes:
    """Text to binary."""
    return bytes(wasmtime.wat2wasm(wat))


def manifest(name: str = "guest", version: str = "1.0.0", more: str = "", **limits: int) -> str:
    """A plugin.toml."""
    bounds = "".join(f"{key} = {value}\n" for key, value in limits.items())
    return (
        f'schema = 1\nname = "{name}"\nversion = "{version}"\nworld = "agent:plugin/tool@0.1.0"\n'
        f"{more if not more.startswith('[') else ''}[limits]\n{bounds}{more if more.startswith('[') else ''}"
    )


def _escaped(value: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in value)


class _Code:
    """Machine code of one component, from the lab's cache."""

    def __init__(self, lab: "Lab", component: bytes) -> None:
        self._lab = lab
        self._component = component
        self.wasm = hashlib.sha256(component).hexdigest()
        self.compiled = 0

    async def open(self, *, fuel: bool) -> BinaryIO:
        found = self._lab.cache.open(self.wasm, fuel=fuel)
        if found is None:
            self.compiled += 1
            with self._lab.cache.create() as draft, tempfile.TemporaryFile() as source:
                source.write(self._component)
                source.seek(0)
                await self._lab.processes.compile(source, draft.file, fuel=fuel)
                draft.keep(self.wasm, fuel=fuel)
            found = self._lab.cache.open(self.wasm, fuel=fuel)
            assert found is not None
        return found

    def forget(self) -> None:
        self._lab.cache.forget(self.wasm)


class Lab:
    """Plugins' processes without an agent: compile, load, call, look."""

    def __init__(self, directory: Path, broker: Broker | None = None) -> None:
        self.cache = Cache(directory / "code")
        self.processes = Processes()
        self.broker = broker or Broker(Egress(), self._no_secret, lambda _: ())
        self.lines: list[tuple[str, str]] = []
        self._running: list[Running] = []

    @staticmethod
    async def _no_secret(name: str) -> Any:
        raise AssertionError(f"nobody may ask for {name} here")

    def load(self, component: str | bytes, more: str = "", **limits: int) -> Running:
        """A plugin; its process starts with its first call."""
        code = binary(component) if isinstance(component, str) else component
        running = Running(self.manifest(more, **limits), None, self.processes, _Code(self, code))
        self._running.append(running)
        return running

    @staticmethod
    def manifest(more: str = "", **limits: int) -> Manifest:
        return read(manifest(more=more, **limits))

    async def call(
        self,
        running: Running,
        given: str = "{}",
        *,
        seconds: float | None = None,
        store: Any = None,
        reading: bool = False,
    ) -> tuple[bool, str]:
        """One call, as the agent makes it."""
        bounds = running.manifest.limits
        deadline = time.monotonic() + (seconds if seconds is not None else bounds.timeout_ms / 1000)
        effects = ("read",) if reading else ("read", "write", "send")
        host = HostCalls(running.manifest, self.broker, store, self._log, deadline=deadline, effects=effects)
        return await running.call(given, host, deadline)

    async def fault(self, running: Running, **more: Any) -> str:
        """The name of the fault that a call ends with."""
        from opencrust_agent.plugins.errors import PluginFault

        try:
            answer = await self.call(running, **more)
        except PluginFault as fault:
            return fault.name
        raise AssertionError(f"it returned {str(answer)[:200]}")

    async def close(self) -> None:
        for running in self._running:
            with suppress(Exception):
                await running.stop()
        await self.processes.close()

    def _log(self, level: str, text: str) -> None:
        self.lines.append((level, text))

"""Wasmtime, set up for code that nobody trusts. The only module of the house that imports it.

It runs in plugins' processes alone: in the throw-away child that compiles (:mod:`.compiler`) and in locked workers
(:mod:`.worker`). The agent itself never loads the library.

Off: threads, shared memory, 64-bit memory, relaxed SIMD, GC, exceptions, function references, tail calls, stack
switching, wide arithmetic, custom page sizes, and the component model's async part. Most of the runtime's advisories
of 2026 sit in those. ``wasm_multi_memory`` stays on: without it a component with adapters makes wasmtime abort the
process. Memories are "dynamic" (no reservation, no guard pages): so RLIMIT_AS means something, and bounds are checked
in code that masks against Spectre. WASI is never linked.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import component as wc

from opencrust_agent.plugins import limits

HOST = "agent:plugin/host@0.1.0"
WORLD = "agent:plugin/tool@0.1.0"
LEVELS = ("debug", "info", "warn", "error")

_COMPONENT = b"\0asm\x0d\0\x01\0"
_MODULE = b"\0asm\x01\0\0\0"


class Refused(Exception):
    """This is no plugin that we run. The text says why; it may hold names that the plugin chose."""


class Fault(Exception):
    """A call ended otherwise than by returning. ``name`` is one of ours, ``detail`` holds nothing of the guest's."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name
        self.detail = detail


class _Abort(Exception):
    """Ends a guest from inside a host function; never shown."""


class Host(Protocol):
    """What a guest may ask for."""

    def log(self, level: str, message: str) -> None: ...

    def now_ms(self) -> int: ...

    def kv_get(self, key: str) -> str | None: ...

    def kv_set(self, key: str, value: str) -> tuple[bool, str]: ...

    def http_fetch(self, request: str) -> tuple[bool, str]: ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one call may use. Times in seconds, sizes in bytes."""

    timeout: float
    compute: float
    memory: int
    output: int
    fuel: int | None = None


def engine(*, fuel: bool) -> wasmtime.Engine:
    """An engine with all that is said above. With ``fuel`` it makes and takes other machine code.

    Whoever changes it raises :data:`opencrust_agent.plugins.cache.SETTINGS`.
    """
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.consume_fuel = fuel
    config.parallel_compilation = False
    config.max_wasm_stack = limits.WORKER_STACK
    config.memory_reservation = 0
    config.memory_guard_size = 0
    config.memory_reservation_for_growth = limits.MiB
    config.wasm_threads = False
    config.shared_memory = False
    config.wasm_memory64 = False
    config.wasm_relaxed_simd = False
    config.wasm_gc = False
    config.wasm_exceptions = False
    config.wasm_function_references = False
    config.wasm_tail_call = False
    config.wasm_stack_switching = False
    config.wasm_wide_arithmetic = False
    config.wasm_custom_page_sizes = False
    ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    return wasmtime.Engine(config)


def compile_component(code: bytes, *, fuel: bool) -> bytes:
    """Machine code of a component that has exactly our interface.

    Raises:
        Refused: it is none, or needs what is off.
    """
    if code.startswith(_MODULE):
        raise Refused(f"it is a core module; a plugin is a component of the world {WORLD} (see docs/plugins.md)")
    if not code.startswith(_COMPONENT):
        raise Refused("it is not a WebAssembly component")
    made = engine(fuel=fuel)
    try:
        component = wc.Component(made, code)
    except wasmtime.WasmtimeError as error:
        raise Refused(f"it does not compile: {_first_line(error)}") from None
    _check_type(component, made)
    return bytes(component.serialize())


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _check_type(component: wc.Component, made: wasmtime.Engine) -> None:
    kind = component.type
    for name, extern in kind.imports(made).items():
        if name != HOST:
            raise Refused(f"it imports {name[:100]!r}; there is only {HOST}")
        imported = extern.ty
        if not isinstance(imported, wc.ComponentInstanceType):
            raise Refused(f"it imports {HOST} as something that is no interface")
        for function, item in imported.exports(made).items():
            wanted = item.ty
            if isinstance(wanted, wc.FuncType):
                _check_function(f"import {function[:60]}", wanted, _HOST_FUNCTIONS.get(function))
            elif function != "level":
                raise Refused(f"it imports {function[:60]!r} of {HOST}, which has no such thing")
    exports = {name: extern.ty for name, extern in kind.exports(made).items()}
    for name, signature in _EXPORTS.items():
        given = exports.pop(name, None)
        if not isinstance(given, wc.FuncType):
            raise Refused(f"it does not export the function {name!r} of the world {WORLD}")
        _check_function(f"export {name}", given, signature)
    for left_behind in _LEFT_BEHIND:
        exports.pop(left_behind, None)
    if exports:
        raise Refused(f"it exports {min(exports)[:60]!r} besides; the world {WORLD} has `describe` and `call` alone")


_LEFT_BEHIND = ("init", "exports")
"""What componentize-qjs and componentize-py export for their own use while they build; nobody calls it here."""
_HOST_FUNCTIONS = {
    "log": (("level", "string"), None),
    "now-ms": ((), "u64"),
    "kv-get": (("string",), "option<string>"),
    "kv-set": (("string", "string"), "result<string,string>"),
    "http-fetch": (("string",), "result<string,string>"),
}
_EXPORTS = {"describe": ((), "string"), "call": (("string",), "result<string,string>")}


def _check_function(what: str, given: wc.FuncType, wanted: tuple[tuple[str, ...], str | None] | None) -> None:
    if wanted is None:
        raise Refused(f"{what}: {HOST} has no such function")
    found = (tuple(_name(kind) for _, kind in given.params), None if given.result is None else _name(given.result))
    if found != wanted:
        raise Refused(f"{what}: its type is not that of the world {WORLD}")


def _name(kind: object) -> str:
    if isinstance(kind, wc.String):
        return "string"
    if isinstance(kind, wc.U64):
        return "u64"
    if isinstance(kind, wc.OptionType):
        return f"option<{_name(kind.payload)}>"
    if isinstance(kind, wc.ResultType):
        return f"result<{_name(kind.ok)},{_name(kind.err)}>"
    if isinstance(kind, wc.EnumType) and tuple(kind.name(n) for n in range(kind.names_count)) == LEVELS:
        return "level"
    return type(kind).__name__


class Guest:
    """A compiled component in this process. One call at a time; each in a fresh store, of which nothing is kept."""

    def __init__(self, path: str, host: Host, *, fuel: bool) -> None:
        """Load machine code that :func:`compile_component` made (and nobody touched since: it is run as it is).

        Raises:
            Refused: made by another version, or with other settings.
        """
        self._engine = engine(fuel=fuel)
        try:
            self._component = wc.Component.deserialize_file(self._engine, path)
        except wasmtime.WasmtimeError as error:
            raise Refused(_first_line(error)) from None
        self._host = host
        self._aborted: Fault | None = None
        self._describe = self._component.get_export_index("describe")
        self._call = self._component.get_export_index("call")
        self._linker = wc.Linker(self._engine)
        with self._linker.root() as root, root.add_instance(HOST) as functions:
            functions.add_func("log", self._guarded(self._log))
            functions.add_func("now-ms", self._guarded(lambda: host.now_ms()))
            functions.add_func("kv-get", self._guarded(lambda key: host.kv_get(key)))
            functions.add_func("kv-set", self._guarded(lambda key, value: _result(host.kv_set(key, value))))
            functions.add_func("http-fetch", self._guarded(lambda request: _result(host.http_fetch(request))))
        self._clock = _Clock(self._engine)

    def start_clock(self) -> None:
        """Start the thread that looks at the clock. Before it, nothing may be called; Landlock must hold already."""
        self._clock.start()

    def describe(self, allowance: Allowance) -> str:
        """What the component says of itself.

        Raises:
            Fault: it did not return.
        """
        text: str = self._run(self._describe, (), allowance)
        return self._checked(text, allowance)

    def call(self, text: str, allowance: Allowance) -> tuple[bool, str]:
        """Whether it did what was asked, and its text.

        Raises:
            Fault: it did not return.
        """
        result = self._run(self._call, (text,), allowance)
        return result.tag == "ok", self._checked(result.payload, allowance)

    @staticmethod
    def _checked(text: str, allowance: Allowance) -> str:
        size = len(text.encode())
        if size > allowance.output:
            raise Fault("output-too-large", f"{size} bytes; {allowance.output} are allowed")
        return text

    def _run(self, export: Any, arguments: tuple[str, ...], allowance: Allowance) -> Any:
        store = wasmtime.Store(self._engine)
        self._aborted = None
        try:
            store.set_limits(
                memory_size=allowance.memory,
                table_elements=limits.TABLE_ELEMENTS,
                instances=limits.INSTANCES,
                tables=limits.TABLES,
                memories=limits.MEMORIES,
            )
            if allowance.fuel is not None:
                store.set_fuel(allowance.fuel)
            store.set_epoch_deadline(self._clock.wind(allowance))  # before instantiation, which runs code too
            instance = self._linker.instantiate(store, self._component)
            function = instance.get_func(store, export)
            if function is None:
                raise Fault("trap", "no such export")
            return function(store, *arguments)
        except Fault:
            raise
        except Exception as error:  # noqa: BLE001 - ctypes, the runtime, a host function: all end the call alike
            if self._aborted is not None:
                raise self._aborted from None
            raise _fault(error) from None
        finally:
            self._clock.unwind()
            store.close()

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A host function whose exceptions stay here: the guest, and the text of its trap, learn nothing of them."""

        def call(_store: object, *arguments: Any) -> Any:
            self._clock.pause()
            try:
                return function(*arguments)
            except Fault as fault:
                self._aborted = self._aborted or fault
                raise _Abort from None
            except Exception as error:  # noqa: BLE001
                self._aborted = self._aborted or Fault("host-error", type(error).__name__)
                raise _Abort from None
            finally:
                self._clock.resume()

        return call

    def _log(self, level: Any, message: str) -> None:
        self._host.log(str(level), message)


def _result(answer: tuple[bool, str]) -> wc.Variant:
    done, text = answer
    return wc.Variant("ok" if done else "err", text)


_TRAPS = (
    # what the runtime's text contains: (our name, our detail)
    ("wasm trap: interrupt", "timeout", "it computed longer than it may"),
    ("all fuel consumed", "fuel", "it ran more instructions than it may"),
    ("call stack exhausted", "trap", "its calls nest too deep"),
    ("unreachable", "trap", "it gave up"),
    ("out of bounds memory access", "trap", "it reached outside its memory"),
    ("integer divide by zero", "trap", "it divided by zero"),
    ("exceeds memory limits", "too-large", "it wants more memory than it may have"),
    ("exceeds table limits", "too-large", "it wants larger tables than it may have"),
    ("memory count too high", "too-large", "it wants more memories than it may have"),
    ("instance count too high", "too-large", "it wants more instances than it may have"),
    ("table count too high", "too-large", "it wants more tables than it may have"),
    ("count too high", "too-large", "it wants more than it may have"),
    ("out of bounds of memory", "bad-output", "its answer lies outside its memory"),
    ("realloc return", "bad-output", "it gave memory that it does not have"),
    ("not aligned", "bad-output", "its answer is not where it may be"),
    ("unaligned", "bad-output", "its answer is not where it may be"),
    ("discriminant", "bad-output", "its answer is neither a result nor an error"),
    ("utf-8", "bad-output", "its answer is not text"),
    ("cannot enter component instance", "trap", "it called itself"),
)


def _fault(error: Exception) -> Fault:
    """Ours for the runtime's: its text may quote names that the guest chose, so nothing of it goes on."""
    text = str(error)
    for part, name, detail in _TRAPS:
        if part in text.lower():
            return Fault(name, detail)
    return Fault("trap", "it failed")


class _Clock:
    """Ends a guest that computes too long: its thread raises the engine's epoch once a tick while a guest computes.

    Time that a guest waits for the host does not count as computing; the deadline of the whole call does.
    """

    def __init__(self, made: wasmtime.Engine) -> None:
        self._engine = made
        self._running = threading.Event()
        self._deadline = 0.0
        self._left = 0

    def start(self) -> None:
        threading.Thread(target=self._tick, daemon=True, name="clock").start()

    def wind(self, allowance: Allowance) -> int:
        """A call begins. Returns its allowance in ticks."""
        self._deadline = time.monotonic() + allowance.timeout
        ticks = max(1, round(min(allowance.compute, allowance.timeout) / limits.TICK))
        self._left = ticks + 1
        self._running.set()
        return ticks

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def unwind(self) -> None:
        self._running.clear()

    def _tick(self) -> None:
        while True:
            self._running.wait()
            time.sleep(limits.TICK)
            if not self._running.is_set():
                continue
            for _ in range(self._left if time.monotonic() >= self._deadline else 1):
                self._engine.increment_epoch()

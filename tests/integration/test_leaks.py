"""The house's secrets stay out of the services' logs, whatever a service tries to log: real bus, real vault."""

import asyncio
import base64
import io
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

import opencrust_agent.main
import opencrust_gateway.main
from harness import BusServer
from opencrust.credentials import Credentials
from opencrust.service import Context, Settings
from opencrust.telemetry import Redactor
from opencrust.telemetry.logs import LogHandler
from opencrust.telemetry.redaction import HIDDEN
from simulators.vault_process import VaultProcess

KEY = "provider.openai.api_key"
RUNS = {"agent": opencrust_agent.main.run, "gateway": opencrust_gateway.main.run}


@pytest.fixture
def vault(bus_server: BusServer) -> Iterator[VaultProcess]:
    running = VaultProcess(bus_server)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(server: BusServer, name: str, directory: Path) -> AsyncIterator[Context]:
    settings = Settings(identity_dir=server.home / "identity" / name, state_dir=directory, bus_url=server.url)
    environment = {"OPENCRUST_GATEWAY_PORT": str(free_port())}
    bus, identity = await server.connect(name), server.identity(name)
    context = Context(name, settings, environment, identity, bus, f"{name}-1", Redactor())
    run: Callable[[Context], Awaitable[None]] = RUNS[name]
    task = asyncio.ensure_future(run(context))
    try:
        async with asyncio.timeout(10):
            while not context.is_ready and not task.done():
                await asyncio.sleep(0.01)
        assert context.is_ready
        yield context
        assert not context.broken.done()
    finally:
        context.stopping.set()
        await task


def logged(redactor: Redactor, text: str) -> str:
    """What a log line of a service with this redactor shows of `text`, in its message, its extras and its stack."""
    stream = io.StringIO()
    handler = LogHandler("agent", redactor, stream, human=False)
    try:
        raise ValueError(text)
    except ValueError as error:
        record = logging.LogRecord(
            "opencrust_agent", logging.ERROR, __file__, 1, "it is %s!", (text,), (type(error), error, None)
        )
    record.__dict__["detail"] = text
    handler.handle(record)
    return stream.getvalue()


async def until_hidden(redactor: Redactor, text: str) -> None:
    async with asyncio.timeout(10):
        while text in logged(redactor, text):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", sorted(RUNS))
async def test_a_key_is_in_no_log_in_any_form(
    bus_server: BusServer, vault: VaultProcess, tmp_path: Path, name: str
) -> None:
    # No provider's shape, so that only the fingerprint can find it; and with characters that URLs escape.
    value = f"{secrets.token_urlsafe(9)}/{secrets.token_urlsafe(9)}={secrets.token_urlsafe(9)}"
    raw = value.encode()
    forms = {
        "raw": value,
        "base64": base64.b64encode(raw).decode(),
        "base64, URL-safe, behind a user's name": base64.urlsafe_b64encode(b"user:" + raw).decode(),
        "hex": raw.hex(),
        "upper hex": raw.hex().upper(),
        "URL": quote(value, safe=""),
    }
    await asyncio.to_thread(vault.start)
    await asyncio.to_thread(vault.set, KEY, raw)
    async with running(bus_server, name, tmp_path) as context:
        if name == "agent":  # it holds the key now, as it does for each answer
            holder = Credentials(context.bus, context.identity)
            assert (await holder.get(KEY, purpose="chat")).reveal() == raw
        await until_hidden(context.redactor, value)
        for form, text in forms.items():
            # Of base64, the two characters at each end mix with what stands beside.
            core = text[10:-6] if "base64" in form else text
            assert core in logged(Redactor(), text), f"{form}: this test would see it"
            shown = logged(context.redactor, text)
            assert core not in shown, form
            assert HIDDEN in shown

        replaced = os.urandom(20).hex()
        await asyncio.to_thread(vault.set, KEY, replaced.encode())
        await until_hidden(context.redactor, replaced)


@pytest.mark.parametrize("name", sorted(RUNS))
async def test_a_vault_that_is_away_delays_nothing_and_is_found_later(
    bus_server: BusServer, vault: VaultProcess, tmp_path: Path, name: str
) -> None:
    value = os.urandom(20).hex()
    async with running(bus_server, name, tmp_path) as context:
        assert value in logged(context.redactor, value)
        await asyncio.to_thread(vault.start)
        await asyncio.to_thread(vault.set, KEY, value.encode())
        await until_hidden(context.redactor, value)

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from opencrust_vault import admin_socket
from opencrust_vault.admin_socket import AdminServer
from opencrust_vault.errors import NotFound, Unavailable, VaultError

KEY = os.urandom(32)


async def perform(operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if operation == "absent":
        raise NotFound("no such thing")
    if operation == "broken":
        raise RuntimeError("canary: what was being handled")
    return {"operation": operation, **arguments}


@pytest.fixture
async def path(directory: Path) -> AsyncIterator[Path]:
    server = AdminServer(directory / "admin.sock", KEY, perform)
    await server.start()
    yield directory / "admin.sock"
    await server.close()
    assert not (directory / "admin.sock").exists()


async def call(path: Path, operation: str, key: bytes = KEY, **arguments: object) -> dict[str, Any]:
    return await asyncio.to_thread(admin_socket.call, path, key, operation, arguments)


async def test_operations_and_their_errors_come_through(path: Path) -> None:
    assert await call(path, "echo", value="x" * 100_000) == {"operation": "echo", "value": "x" * 100_000}
    with pytest.raises(NotFound, match="no such thing"):
        await call(path, "absent")
    with pytest.raises(VaultError, match="RuntimeError") as caught:
        await call(path, "broken")
    assert "canary" not in str(caught.value)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_without_the_key_nothing_is_done(path: Path) -> None:
    with pytest.raises(Unavailable):
        await call(path, "echo", key=os.urandom(32))
    assert await call(path, "echo") == {"operation": "echo"}


async def test_garbage_and_silence_do_not_stop_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)  # a socket's address is short
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(64), os.urandom(5000)):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path.name)
        connection.sendall(data)
        connection.close()
    assert await call(path, "echo") == {"operation": "echo"}


async def test_a_squatter_learns_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who listens in the vault's place cannot prove to have the key, so no value is sent to him."""
    heard = bytearray()

    async def squat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"OCADM1\n" + os.urandom(32))
        heard.extend(await reader.read(64))
        writer.write(os.urandom(32))
        heard.extend(await reader.read())
        writer.close()

    monkeypatch.chdir(directory)
    server = await asyncio.start_unix_server(squat, "squat.sock")
    with pytest.raises(Unavailable, match="does not have the admin key"):
        await call(directory / "squat.sock", "set", value="canary-canary")
    server.close()
    assert b"canary" not in heard
    assert len(heard) == 64


async def test_what_passes_is_sealed(path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay sees no value and cannot change one bit of the request."""
    seen = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection("admin.sock")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                seen.extend(data)
                sink.write(data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 100 else data)
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer), return_exceptions=True)

    monkeypatch.chdir(directory)
    server = await asyncio.start_unix_server(relay, "relay.sock")
    with pytest.raises(Unavailable):
        await call(directory / "relay.sock", "set", value="canary-canary" * 50)
    server.close()
    assert b"canary" not in seen


async def test_a_deep_home_has_room_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True, mode=0o700)
    server = AdminServer(deep / "admin.sock", KEY, perform)
    await server.start()
    assert await call(deep / "admin.sock", "echo") == {"operation": "echo"}
    await server.close()

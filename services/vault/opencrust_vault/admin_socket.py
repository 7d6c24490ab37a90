"""The operations of `administration` over a unix socket, for processes that can read the admin key file.

Other services may run under the same user: confined as they are, they can reach a socket but not read that file. So
the socket asks for proof, gives proof (a squatter gets no values), and seals every frame with a key of this one
connection (somebody in between learns and changes nothing).

    server → client   "OCADM1\\n" | nonce(32)
    client → server   nonce(32) | HMAC-SHA256(key, "client" | server nonce | client nonce)
    server → client   HMAC-SHA256(key, "server" | server nonce | client nonce)
    then              u32 length | AES-256-GCM frame, one request and one reply, JSON; the key is
                      HKDF-SHA256(admin key, salt = both nonces, info = direction), nonce zero, used once
"""

import asyncio
import contextlib
import hmac
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opencrust_vault import errors
from opencrust_vault.errors import Unavailable, VaultError

log = logging.getLogger(__name__)

Perform = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]

_GREETING = b"OCADM1\n"
_NONCE = 32
_PROOF = 32
_MAX_FRAME = 8 * 1024 * 1024
_HANDSHAKE_SECONDS = 5.0
_REPLY_SECONDS = 60.0
_MAX_CONNECTIONS = 16


class AdminServer:
    """Serves `perform` on a socket file of mode 0600."""

    def __init__(self, path: Path, key: bytes, perform: Perform) -> None:
        self._path = path
        self._key = key
        self._perform = perform
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self) -> None:
        """Listen. A stale socket is removed: the caller holds the vault's lock, so nobody else serves here."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short_path(self._path) as address:
                listener.bind(address)
            self._path.chmod(0o600)  # before anybody can connect
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_MAX_FRAME + 64)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _MAX_CONNECTIONS and _same_user(writer):
                await self._converse(reader, writer)
        except (OSError, EOFError, TimeoutError, InvalidTag, ValueError) as error:
            log.warning("an administration connection failed: %s", type(error).__name__)
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            mine = os.urandom(_NONCE)
            writer.write(_GREETING + mine)
            theirs = await reader.readexactly(_NONCE)
            proof = await reader.readexactly(_PROOF)
            if not hmac.compare_digest(proof, _prove(self._key, b"client", mine, theirs)):
                log.warning("somebody without the admin key tried to administer the vault")
                return
            writer.write(_prove(self._key, b"server", mine, theirs))
            length = int.from_bytes(await reader.readexactly(4), "big")
            if length > _MAX_FRAME:
                return
            frame = await reader.readexactly(length)
        request = json.loads(_open(self._key, b"request", mine, theirs, frame))
        reply = json.dumps(await self._reply(str(request["operation"]), dict(request["arguments"]))).encode()
        writer.write(_sized(_close(self._key, b"reply", mine, theirs, reply)))
        await writer.drain()

    async def _reply(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": await self._perform(operation, arguments)}
        except VaultError as error:
            return {"error": type(error).__name__, "message": str(error)}
        except OSError as error:
            return {"error": "VaultError", "message": f"the vault could not be written: {error.strerror}"}
        except Exception as error:  # noqa: BLE001 - its text might hold what was being handled
            log.error("the operation %s failed: %s", operation, type(error).__name__)
            return {"error": "VaultError", "message": f"the operation failed ({type(error).__name__})"}


def call(path: Path, key: bytes, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask the running vault for one operation; blocks.

    Raises:
        Unavailable: nobody listens there, or the one who does not prove to be the vault.
        VaultError: what the operation raised, by class.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(_REPLY_SECONDS)
        try:
            with _short_path(path) as address:
                connection.connect(address)
            reply = _ask(connection, key, operation, arguments)
        except (OSError, EOFError, InvalidTag, ValueError) as error:
            raise Unavailable(
                f"the running vault cannot be reached at {path}: {error or type(error).__name__}"
            ) from None
    if "error" in reply:
        kind = getattr(errors, str(reply["error"]), VaultError)
        raise kind(str(reply["message"]))
    return dict(reply["result"])


def _ask(connection: socket.socket, key: bytes, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    greeting = _receive(connection, len(_GREETING) + _NONCE)
    if not greeting.startswith(_GREETING):
        raise ValueError("this is not a vault's socket")
    theirs, mine = greeting[len(_GREETING) :], os.urandom(_NONCE)
    connection.sendall(mine + _prove(key, b"client", theirs, mine))
    if not hmac.compare_digest(_receive(connection, _PROOF), _prove(key, b"server", theirs, mine)):
        raise ValueError("the one who answers does not have the admin key")
    request = json.dumps({"operation": operation, "arguments": arguments}).encode()
    connection.sendall(_sized(_close(key, b"request", theirs, mine, request)))
    length = int.from_bytes(_receive(connection, 4), "big")
    if length > _MAX_FRAME:
        raise ValueError("the reply is too large")
    return dict(json.loads(_open(key, b"reply", theirs, mine, _receive(connection, length))))


def _prove(key: bytes, who: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    return hmac.digest(key, who + server_nonce + client_nonce, "sha256")


def _cipher(key: bytes, direction: bytes, server_nonce: bytes, client_nonce: bytes) -> AESGCM:
    info = b"opencrust-vault-admin/1 " + direction
    return AESGCM(HKDF(hashes.SHA256(), 32, server_nonce + client_nonce, info).derive(key))


def _close(key: bytes, direction: bytes, server_nonce: bytes, client_nonce: bytes, plain: bytes) -> bytes:
    return _cipher(key, direction, server_nonce, client_nonce).encrypt(bytes(12), plain, direction)


def _open(key: bytes, direction: bytes, server_nonce: bytes, client_nonce: bytes, frame: bytes) -> bytes:
    return _cipher(key, direction, server_nonce, client_nonce).decrypt(bytes(12), frame, direction)


def _sized(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def _receive(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError("the connection was closed; is the admin key the right one?")
        data += piece
    return data


def _same_user(writer: asyncio.StreamWriter) -> bool:
    if sys.platform != "linux":
        return True  # the socket's mode says the same
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", raw)[1] in (os.geteuid(), 0))


@contextlib.contextmanager
def _short_path(path: Path) -> Any:
    """A spelling of `path` that fits into a socket address (108 bytes), however deep the home directory is."""
    if len(os.fsencode(path)) < 100 or sys.platform != "linux":
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)

"""What a plugin's process and the agent say to each other: JSON behind its length, over a socket pair.

The agent → worker: ``{"call": input, "ms": …, "compute_ms": …, "fuel": …, "memory": …, "output": …, "host_calls": …}``,
``{"describe": …}`` with the same, ``{"answer": …}``. The worker → agent: ``{"ready": {…}}``, ``{"host": name,
"arguments": […]}``, ``{"log": [level, line]}``, and one of ``{"ok": text}``, ``{"error": text}`` (the plugin's own
words), ``{"fault": name, "detail": …}`` (ours).
"""

import asyncio
import json
import os
import struct
from typing import Any

_LENGTH = struct.Struct("<I")
LARGEST = 8 * 1024 * 1024
"""Bytes. An output of 1 MiB has at most six in JSON."""


class Broken(Exception):
    """The other side ended, or sent what is no frame."""


def encode(message: dict[str, Any]) -> bytes:
    """The frame of ``message``."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """What a frame's body says.

    Raises:
        Broken: no JSON object.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise Broken("not JSON") from None
    if not isinstance(message, dict):
        raise Broken("not an object")
    return message


async def read(stream: asyncio.StreamReader) -> dict[str, Any]:
    """The next frame.

    Raises:
        Broken: there is none any more.
    """
    try:
        (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
        if length > LARGEST:
            raise Broken(f"a frame of {length} bytes")
        return decode(await stream.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        raise Broken("the process ended") from None


def read_blocking(descriptor: int) -> dict[str, Any]:
    """The next frame, for a process that does nothing else.

    Raises:
        Broken: there is none any more.
    """
    (length,) = _LENGTH.unpack(_exactly(descriptor, _LENGTH.size))
    if length > LARGEST:
        raise Broken(f"a frame of {length} bytes")
    return decode(_exactly(descriptor, length))


def write_blocking(descriptor: int, message: dict[str, Any]) -> None:
    """Send a frame. Plain write(2): the worker has no other system call for it."""
    data = memoryview(encode(message))
    while data:
        data = data[os.write(descriptor, data) :]


def _exactly(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            raise Broken("the agent is gone")
        data = data + piece if data else piece
    return data

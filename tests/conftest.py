"""Fixtures that all suites share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness import BusServer


@pytest.fixture
async def bus_server(tmp_path: Path) -> AsyncIterator[BusServer]:
    """A real, provisioned nats-server with TLS, stopped afterwards."""
    server = BusServer(tmp_path / "home")
    server.home.mkdir(mode=0o700)
    server.start()
    try:
        await server.provision()
        yield server
    finally:
        await server.close()
        server.stop()

"""The gateway as a process of its own, as the product runs it, to be killed like one."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness import BusServer, free_port


class GatewayProcess:
    """``python -m opencrust_gateway`` on a bus; `start` returns when it answers."""

    def __init__(self, server: BusServer, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = server
        self._state = server.home / f"gateway-{self.port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OPENCRUST_IDENTITY_DIR": str(self._server.home / "identity" / "gateway"),
            "OPENCRUST_STATE_DIR": str(self._state),
            "OPENCRUST_BUS_URL": self._server.url,
            "OPENCRUST_GATEWAY_PORT": str(self.port),
        }
        with (self._server.home / "gateway.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "opencrust_gateway", stdout=log, stderr=log, env=environment
            )
        async with asyncio.timeout(30):
            while not await self._answers():
                assert self._process.returncode is None, (self._server.home / "gateway.log").read_text()[-2000:]
                await asyncio.sleep(0.02)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        await self._process.wait()

    def rss(self) -> int:
        """Resident memory, in bytes."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200")


@asynccontextmanager
async def gateway_process(server: BusServer) -> AsyncIterator[GatewayProcess]:
    """One that runs, killed afterwards."""
    process = GatewayProcess(server)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()

"""What the small servers here share: they run on a port of their own while a test needs them."""

from types import TracebackType
from typing import Self

from aiohttp import web


class ForeignServer:
    """Started with ``async with``; then it has a ``url``."""

    url = ""
    _runner: web.AppRunner

    def routes(self) -> list[web.RouteDef]:
        """Its interface."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

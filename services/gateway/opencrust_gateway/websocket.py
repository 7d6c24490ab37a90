"""/v1/ws: taking connections, and who is on the other side; docs/websocket.md is the protocol."""

import asyncio
import logging
from contextlib import ExitStack

from aiohttp import WSCloseCode, web

from opencrust.access import Scope, TokenKind
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import BusError
from opencrust.contracts import Approval
from opencrust_gateway import approvals, frames
from opencrust_gateway.approvals import ApprovalDesk, ApprovalNews
from opencrust_gateway.attachments import Attachments
from opencrust_gateway.authentication import LiveConnections, Principal, authenticate
from opencrust_gateway.connection import CLOSE_TIME, HEARTBEAT, Connection
from opencrust_gateway.errors import ApiError, unauthenticated
from opencrust_gateway.http import optional_principal
from opencrust_gateway.hub import Hub
from opencrust_gateway.limits import Ceiling, address_key
from opencrust_gateway.operations import Operations
from opencrust_gateway.settings import Limits

log = logging.getLogger(__name__)

UNAUTHENTICATED = 4401
"""No credential came in time, or a wrong one."""
REVOKED = 4403
"""The token was revoked or has expired."""
TOO_MANY = 4029
"""Too many connections of this address wait for their credential."""


class Sockets:
    """The handler, and all open connections."""

    def __init__(
        self,
        hub: Hub,
        tokens: TokenStore,
        live: LiveConnections,
        limits: Limits,
        *,
        desk: ApprovalDesk,
        news: ApprovalNews,
        attachments: Attachments,
    ) -> None:
        self._hub = hub
        self._desk = desk
        self._news = news
        self._attachments = attachments
        self._tokens = tokens
        self._live = live
        self._limits = limits
        self._unauthenticated = Ceiling(limits.unauthenticated_sockets, limits.unauthenticated_sockets * 4)
        self._open: set[Connection] = set()

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/ws."""
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT, timeout=CLOSE_TIME, max_msg_size=self._limits.frame, compress=False, autoclose=True
        )
        await socket.prepare(request)
        connection = Connection(socket, request, self._limits)
        self._open.add(connection)
        try:
            caller = optional_principal(request)
            if caller is not None:
                connection.say_hello(caller)
            else:
                caller = await self._first_frame(connection, request)
            if caller is not None:
                await self._serve(connection, caller)
        except BusError:
            connection.end(WSCloseCode.TRY_AGAIN_LATER, "the bus is away; connect again")
        finally:
            self._open.discard(connection)
            await connection.finish()
        return socket

    async def _serve(self, connection: Connection, caller: Principal) -> None:
        operations = Operations(self._hub, self._desk, self._attachments, self._limits, caller, connection.send_text)

        def asked(approval: Approval) -> None:
            connection.send(approvals.event(approval, caller.owner))

        with ExitStack() as stack:
            stack.callback(operations.close)
            if Scope.READ in caller.scopes:  # before anything is awaited: who has read our hello misses none
                stack.enter_context(self._news.told(caller.owner, asked))
            stack.enter_context(
                self._live.enter(caller, lambda: connection.end(REVOKED, "this token was revoked or expired"))
            )
            await self._live.recheck(caller.token_id)  # it may have been revoked before we began to watch it
            await connection.run(caller, operations.operate)

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._open)

    async def close(self) -> None:
        """Tell every client that this gateway stops; they reconnect."""
        for connection in list(self._open):
            connection.end(WSCloseCode.SERVICE_RESTART, "the gateway stops; connect again")
        await asyncio.gather(*(connection.finish() for connection in list(self._open)))

    async def _first_frame(self, connection: Connection, request: web.Request) -> Principal | None:
        """Wait for the credential. None if the connection was closed instead."""
        address = address_key(request.get_extra_info("peername"))
        if not self._unauthenticated.enter(address):
            connection.end(TOO_MANY, "too many connections of this address wait for their credential")
            return None
        try:
            connection.say_hello(None)
            async with asyncio.timeout(self._limits.auth_time):
                return await self._authenticate(connection)
        except TimeoutError:
            connection.end(UNAUTHENTICATED, f"no credential within {self._limits.auth_time:g} s")
        except ApiError as error:
            connection.send({"type": "auth", "ok": False, "error": error.frame()})
            connection.end(UNAUTHENTICATED, error.message)
        finally:
            self._unauthenticated.leave(address)
        return None

    async def _authenticate(self, connection: Connection) -> Principal | None:
        text = await connection.receive()
        if text is None:
            return None
        if len(text) > self._limits.frame_before_auth:
            raise ApiError(413, "too_large", "a frame before authentication has at most 64 KiB")
        frame = frames.parse(text)
        if not isinstance(frame, frames.Auth):
            raise unauthenticated("the first frame must be an auth frame with a token")
        caller = await authenticate(self._tokens, frame.token, TokenKind.BEARER)
        connection.send({"type": "auth", "ok": True, "owner": caller.owner, "scopes": sorted(caller.scopes)})
        return caller

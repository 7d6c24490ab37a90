"""The one function that turns a shown credential into a principal, and the register of who is connected by
it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from opencrust.access import MalformedToken, Scope, TokenKind, TokenRecord
from opencrust.access.tokenstore import TokenStore
from opencrust.bus.errors import BusError
from opencrust_gateway.errors import bus_away, unauthenticated

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling. The scopes are those of our record, whatever the client claims."""

    owner: str
    scopes: frozenset[Scope]
    token_id: str
    kind: TokenKind
    expires: datetime | None


def principal_of(record: TokenRecord) -> Principal:
    """The principal that a verified record stands for."""
    return Principal(record.owner, record.scopes, record.id, record.kind, record.expires)


async def authenticate(tokens: TokenStore, text: str, kind: TokenKind) -> Principal:
    """The principal behind the token `text`, which must be of `kind`.

    Raises ApiError: 401 if it is anything but valid, 503 if that cannot be checked now.
    """
    try:
        record = await tokens.check(text, kind, datetime.now(UTC))
    except MalformedToken:
        raise unauthenticated() from None
    except BusError:
        raise bus_away() from None
    if record is None:
        raise unauthenticated()
    return principal_of(record)


class LiveConnections:
    """Connections by the token that opened them, so that a revoked or expired token takes them down at
    once.
    """

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens
        self._drops: dict[str, list[Callable[[], None]]] = {}

    @contextmanager
    def enter(self, principal: Principal, drop: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `drop` is called (once or more) as soon as the principal's token is void."""
        loop = asyncio.get_running_loop()
        timer = None
        if principal.expires is not None:
            timer = loop.call_later((principal.expires - datetime.now(UTC)).total_seconds(), drop)
        drops = self._drops.setdefault(principal.token_id, [])
        drops.append(drop)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            drops.remove(drop)
            if not drops and self._drops.get(principal.token_id) is drops:
                del self._drops[principal.token_id]

    async def recheck(self, token_id: str) -> None:
        """Look at a token again. Raises BusError: then its connections stand, and the caller must look once
        more.
        """
        if token_id not in self._drops:
            return
        record = await self._tokens.get(token_id)
        if record is None or not record.usable(datetime.now(UTC)):
            drops = list(self._drops.get(token_id, ()))
            log.info("token %s is void: dropping %d live connections", token_id, len(drops))
            for drop in drops:
                drop()

    async def recheck_all(self) -> None:
        """Look at every token in use. Raises BusError."""
        for token_id in list(self._drops):
            await self.recheck(token_id)

    @asynccontextmanager
    async def hold(self, principal: Principal) -> AsyncIterator[None]:
        """Run the block as long as the principal's token is valid. Raises ApiError 401 in it when that
        ends.
        """
        task = asyncio.current_task()
        assert task is not None
        dropped = False

        def drop() -> None:
            nonlocal dropped
            if not dropped:
                dropped = True
                task.cancel()

        with self.enter(principal, drop):
            try:
                yield
            except asyncio.CancelledError:
                if dropped and task.uncancel() == 0:
                    raise unauthenticated("this token was revoked or has expired") from None
                raise

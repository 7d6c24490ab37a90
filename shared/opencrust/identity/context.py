"""TLS contexts: strict, and able to follow renewed files.

Python's SSLContext can be given a new certificate in place, but it cannot forget an authority it once trusted, and a
half-written pair of files would leave it without a key. `LiveContext` therefore keeps no certificate itself: it asks
for a freshly built, complete context at each handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any


def strict_client_context() -> ssl.SSLContext:
    """A client context that speaks TLS 1.3 only, verifies the peer and its host name, and trusts nobody yet."""
    return _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class LiveContext(ssl.SSLContext):
    """A client context that delegates every handshake to the context which `current` returns at that moment.

    asyncio, uvloop and aiohttp make a connection through `wrap_bio`, blocking sockets through `wrap_socket`. Used in
    any other way it is a strict context that trusts nobody: it fails closed.
    """

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> LiveContext:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        _strict(context)
        context._current = current
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        # Python checks this for sockets alone; over memory it would skip the check of the name in silence.
        if not server_hostname:
            raise ValueError("server_hostname is needed, else nobody checks whom we speak to")
        return self._current().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self._current().wrap_socket(*args, **kwargs)


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    # VERIFY_X509_STRICT (RFC 5280 to the letter) is the default only from Python 3.13 on.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context

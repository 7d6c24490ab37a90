"""Who may speak, and what they may do.

A person or a program shows a *token*; the store (KV bucket ``token``) holds a *record* of it, never the
token. There are three kinds, and none is accepted in the place of another:

- ``bearer``: long-lived, for programs: ``Authorization: Bearer oc_…``;
- ``session``: a browser's cookie, made when a login link is redeemed;
- ``ticket``: the login link itself; works once, for ten minutes.

A token carries scopes. Nobody can mint a token with a scope that he does not hold, and the scopes are in the
record on our side, never in the token, so that no client can declare its own.

Of people on channels there is a record each, and a policy per channel (``people``); who is not on the list comes onto
it by a code (``pairing``).

Read in this order. Pure: ``scopes``, ``tokens``, ``people``, ``pairing``; what is said on the bus: ``people`` (by
adapters) and ``desk`` (by the command line). Reading and writing the buckets: ``tokenstore``, ``directory``,
``notices``.
"""

from opencrust.access.scopes import ALL_SCOPES, Scope, ScopeError, grant, parse_scopes
from opencrust.access.tokens import (
    SESSION_TTL,
    TICKET_TTL,
    MalformedToken,
    TokenKind,
    TokenRecord,
    is_token_id,
    lifetime,
    mint_bearer,
    mint_session,
    mint_ticket,
    parse_id,
    revoke,
    verify,
)

__all__ = [
    "ALL_SCOPES",
    "SESSION_TTL",
    "TICKET_TTL",
    "MalformedToken",
    "Scope",
    "ScopeError",
    "TokenKind",
    "TokenRecord",
    "grant",
    "is_token_id",
    "lifetime",
    "mint_bearer",
    "mint_session",
    "mint_ticket",
    "parse_id",
    "parse_scopes",
    "revoke",
    "verify",
]

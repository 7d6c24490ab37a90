"""The one table of what may be called, and by whom. What is not in it does not exist; tests are generated
from it.
"""

from dataclasses import dataclass
from enum import Enum

from opencrust.access import Scope
from opencrust_gateway.errors import ApiError


class Need(Enum):
    """Needs besides scopes."""

    NOTHING = "nothing"
    """No credential: the health probe, and what it takes to log in."""
    TOKEN = "token"  # noqa: S105 - a kind of need, no password
    """Any valid credential."""
    TOKEN_OR_FIRST_FRAME = "token or first frame"  # noqa: S105
    """Any valid credential, or none: then the socket's first frame must bring one (see websocket). A wrong
    one is refused at once.
    """


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP route."""

    method: str
    path: str
    need: Scope | Need
    page: bool = False
    """A page for people: without a session it leads to the login page, and links from elsewhere may open
    it.
    """


ROUTES = (
    Route("GET", "/healthz", Need.NOTHING),
    Route("GET", "/login", Need.NOTHING, page=True),
    Route("POST", "/login", Need.NOTHING),
    Route("GET", "/login/{asset}", Need.NOTHING),
    Route("GET", "/favicon.ico", Need.NOTHING),
    Route("GET", "/", Need.TOKEN, page=True),
    Route("GET", "/app/{asset}", Need.TOKEN),
    Route("POST", "/logout", Need.TOKEN),
    Route("GET", "/v1/session", Need.TOKEN),
    Route("GET", "/v1/ws", Need.TOKEN_OR_FIRST_FRAME),
    Route("GET", "/v1/models", Scope.CHAT),
    Route("POST", "/v1/chat/completions", Scope.CHAT),
    Route("GET", "/v1/conversations", Scope.READ),
    Route("GET", "/v1/conversations/{name}", Scope.READ),
    Route("GET", "/v1/conversations/{name}/events", Scope.READ),
    Route("GET", "/v1/people", Scope.PAIRING),
    Route("POST", "/v1/people", Scope.PAIRING),
    Route("PUT", "/v1/people/{key}", Scope.PAIRING),
    Route("DELETE", "/v1/people/{key}", Scope.PAIRING),
    Route("GET", "/v1/pairing", Scope.PAIRING),
    Route("POST", "/v1/pairing/invites", Scope.PAIRING),
    Route("POST", "/v1/pairing/{id}/approve", Scope.PAIRING),
    Route("POST", "/v1/pairing/{id}/block", Scope.PAIRING),
    Route("GET", "/v1/channels/{name}/policy", Scope.PAIRING),
    Route("PUT", "/v1/channels/{name}/policy", Scope.PAIRING),
    Route("GET", "/v1/tokens", Scope.ADMIN),
    Route("POST", "/v1/tokens", Scope.ADMIN),
    Route("POST", "/v1/tokens/{id}/rotate", Scope.ADMIN),
    Route("DELETE", "/v1/tokens/{id}", Scope.ADMIN),
    Route("POST", "/v1/attachments", Scope.CHAT),
    Route("GET", "/v1/attachments/{sha256}", Scope.READ),
    Route("GET", "/v1/approvals", Scope.READ),
    Route("POST", "/v1/approvals/{id}", Scope.APPROVE),
    Route("GET", "/v1/health", Scope.READ),
    Route("GET", "/v1/channels", Scope.READ),
    Route("GET", "/v1/plugins", Scope.READ),
    Route("POST", "/v1/plugins/{name}/enable", Scope.ADMIN),
    Route("POST", "/v1/plugins/{name}/disable", Scope.ADMIN),
    Route("DELETE", "/v1/plugins/{name}", Scope.ADMIN),
    Route("GET", "/v1/usage", Scope.READ),
    Route("GET", "/v1/vault", Scope.ADMIN),
    Route("GET", "/v1/audit", Scope.ADMIN),
    Route("GET", "/v1/settings", Scope.ADMIN),
    Route("GET", "/v1/openapi.json", Need.TOKEN),
)

OPERATIONS: dict[str, Scope | Need] = {
    "ping": Need.TOKEN,
    "open": Scope.READ,
    "resume": Scope.READ,
    "close": Need.TOKEN,
    "send": Scope.CHAT,
    "stop": Scope.CHAT,
    "approve": Scope.APPROVE,
}
"""Operations of the WebSocket protocol."""


def demand(need: Scope | Need, held: frozenset[Scope]) -> None:
    """Raise ApiError 403 if the scopes of an authenticated caller do not suffice."""
    if isinstance(need, Scope) and need not in held:
        raise ApiError(403, "scope_missing", f"this needs a token with the scope {need.value!r}")

"""What HTTP handlers share: the principal of a request, its body and query, what documents it, server-sent events."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from opencrust.contracts.base import explain
from opencrust_gateway.authentication import Principal
from opencrust_gateway.errors import ApiError

_PRINCIPAL: web.RequestKey[Principal | None] = web.RequestKey("principal")
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes a long turn for a dead connection.
"""


class Given(BaseModel):
    """Base of what clients give: a field that we do not know is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Documented:
    """What a handler takes and tells, for the OpenAPI document. `answer` None: no body, or not JSON (`media`)."""

    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    media: str = ""
    """The media type of an answer that is not JSON, and of a body if `takes_bytes`."""
    takes_bytes: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    """Request headers that count, with what they are for."""


_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_Model = TypeVar("_Model", bound=BaseModel)


def documented(**told: Any) -> Callable[[_Handler], _Handler]:
    """Say what a handler takes and tells; arguments as of :class:`Documented`."""

    def mark(handler: _Handler) -> _Handler:
        setattr(handler, _DOCUMENTED, Documented(**told))
        return handler

    return mark


_DOCUMENTED = "opencrust_documented"


def documentation(handler: object) -> Documented:
    """What `documented` said of a handler."""
    found = getattr(handler, _DOCUMENTED, None)
    return found if isinstance(found, Documented) else Documented()


def set_principal(request: web.Request, principal: Principal | None) -> None:
    """Remember who is calling; the authentication middleware alone does this."""
    request[_PRINCIPAL] = principal


def optional_principal(request: web.Request) -> Principal | None:
    """Who is calling, or None where the route allows that."""
    return request.get(_PRINCIPAL)


def principal(request: web.Request) -> Principal:
    """Who is calling. Raises ApiError 401 if nobody is authenticated."""
    found = optional_principal(request)
    if found is None:
        raise ApiError(401, "unauthenticated", "this needs a token")
    return found


async def read_body(request: web.Request, seconds: float) -> bytes:
    """The body, as JSON clients send it: plain, complete within `seconds`. Raises ApiError 408, 413 or 415."""
    if request.content_type != "application/json":
        raise ApiError(415, "unsupported_media_type", "send Content-Type: application/json", final=True)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise ApiError(415, "unsupported_encoding", "send the body uncompressed", final=True)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise ApiError(408, "body_timeout", f"the body did not come within {seconds:g} s", final=True) from None


async def read_json(request: web.Request, model: type[_Model], seconds: float) -> _Model:
    """The body as ``model``; where there is none, as the model of ``{}``.

    Raises ApiError 400, 408, 413 or 415: it says which field is wrong, and never repeats a value.
    """
    raw = await read_body(request, seconds) if request.body_exists else b"{}"
    try:
        return model.model_validate(json.loads(raw.decode()))
    except ValidationError as error:
        raise ApiError(400, "invalid_request", explain(error)) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "the body is not JSON in UTF-8") from None


def read_query(request: web.Request, model: type[_Model]) -> _Model:
    """The query as `model`. Raises ApiError 400."""
    if len(request.query) != len(set(request.query)):
        raise ApiError(400, "invalid_query", "a query parameter stands twice")
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        raise ApiError(400, "invalid_query", explain(error)) from None


def told(answer: BaseModel, *, status: int = 200) -> web.Response:
    """`answer` as JSON."""
    return web.json_response(text=answer.model_dump_json(), status=status)


def dump(value: object) -> str:
    """JSON, compact, ASCII: also a lone surrogate that a client sent can be sent back."""
    return json.dumps(value, separators=(",", ":"))


class EventStream:
    """A server-sent event stream (WHATWG HTML §9.2)."""

    def __init__(self) -> None:
        self.response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )

    async def start(self, request: web.Request) -> None:
        """Send the headers."""
        await self.response.prepare(request)

    async def comment(self) -> None:
        """A line that clients ignore."""
        await self.response.write(b": keep-alive\n\n")

    async def data(self, value: Any, *, event_id: int | None = None) -> None:
        """One event."""
        head = f"id: {event_id}\n" if event_id is not None else ""
        text = value if isinstance(value, str) else dump(value)
        await self.response.write(f"{head}data: {text}\n\n".encode())

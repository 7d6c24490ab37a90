"""The OpenAPI 3.1 document of the HTTP side, from the table of permissions and what each handler says of itself.

``python -m opencrust_gateway.openapi`` writes docs/contracts/gateway/openapi.json; ``--check`` says whether it has
drifted. https://spec.openapis.org/oas/v3.1.0
"""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import opencrust
from opencrust.access import Scope
from opencrust_gateway.generated import write_or_check
from opencrust_gateway.http import Documented, documentation, principal
from opencrust_gateway.permissions import ROUTES, Need, Route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FILE = Path("docs/contracts/gateway/openapi.json")
_JSON = "application/json"
_REF = "#/components/schemas/{model}"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def document(handlers: Mapping[tuple[str, str], Handler]) -> dict[str, Any]:
    """The document of every route below /v1 that is plain HTTP."""
    told = {key: documentation(handler) for key, handler in handlers.items()}
    models = sorted(
        {model for doc in told.values() for model in (doc.body, doc.answer) if model is not None},
        key=lambda model: model.__name__,
    )
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        if route.path.startswith("/v1/") and route.path != "/v1/ws":
            key = route.method, route.path
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, handlers[key], told[key])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenCrust's gateway",
            "version": opencrust.__version__,
            "description": "Every request carries a token, or a browser's session and then our own Origin. The "
            "WebSocket /v1/ws is in websocket.json and docs/websocket.md.",
        },
        "paths": paths,
        "security": [{"bearer": []}, {"session": []}],
        "components": {
            "schemas": {"Error": _ERROR, **schemas.get("$defs", {})},
            "responses": {"Error": {"description": "Refused; it says what to do.", "content": _content("Error")}},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "opencrust token create NAME"},
                "session": {"type": "apiKey", "in": "cookie", "name": "opencrust_session_3888"},
            },
        },
    }


def text(handlers: Mapping[tuple[str, str], Handler]) -> str:
    """The document as it lies in the file."""
    return json.dumps(document(handlers), indent=2, sort_keys=True) + "\n"


def served(handlers: Mapping[tuple[str, str], Handler]) -> Handler:
    """The handler of GET /v1/openapi.json. `handlers` may still grow."""

    async def serve(request: web.Request) -> web.StreamResponse:
        """GET /v1/openapi.json: this document."""
        principal(request)
        return web.json_response(document(handlers))

    return serve


def _operation(route: Route, handler: Handler, doc: Documented) -> dict[str, Any]:
    scope = route.need.value if isinstance(route.need, Scope) else None
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": _summary(handler),
        "description": f"Scope: {scope}." if scope else "Any valid token.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in _PLACEHOLDER.findall(route.path)
        ],
        "responses": {str(doc.status): _answer(doc), "default": {"$ref": "#/components/responses/Error"}},
    }
    if route.need is not Need.NOTHING and scope:
        operation["x-scope"] = scope
    if doc.query is not None:
        operation["parameters"] += _query(doc.query)
    operation["parameters"] += [
        {"name": name, "in": "header", "description": what, "schema": {"type": "string"}} for name, what in doc.headers
    ]
    if doc.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(doc.body.__name__)}
    elif doc.takes_bytes:
        operation["requestBody"] = {"required": True, "content": {doc.media: {}}}
    return operation


def _answer(doc: Documented) -> dict[str, Any]:
    if doc.answer is not None:
        return {"description": _first_line(doc.answer.__doc__), "content": _content(doc.answer.__name__)}
    if doc.status == 204:
        return {"description": "Done."}
    return {"description": "Done.", "content": {doc.media or _JSON: {}}}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": _plain(part)}
        for name, part in schema["properties"].items()
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without null: a query has no way to say it."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "title", "default")}
    return {**rest, **choices[0]} if len(choices) == 1 else rest or schema


def _content(model: str) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": _REF.format(model=model)}}}


def _summary(handler: Handler) -> str:
    """The first line of the handler's docstring, without the route before it."""
    line = _first_line(handler.__doc__)
    before, colon, after = line.partition(": ")
    return after if colon and before.split(" ", 1)[0].isupper() else line


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n", 1)[0]


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "null"},
                "code": {"type": "string"},
            },
        }
    },
}


async def _from_code() -> str:
    from opencrust.bus import Bus
    from opencrust_gateway.app import Gateway
    from opencrust_gateway.settings import GatewaySettings

    return text(Gateway(Bus("gateway"), GatewaySettings()).handlers())  # never connected: it only lists its parts


def main(arguments: list[str] | None = None) -> int:
    """Write the document, or check it. Exit code 1: it is not what the code says."""
    wanted = asyncio.run(_from_code())
    return write_or_check(arguments, module="opencrust_gateway.openapi", description=__doc__, file=FILE, wanted=wanted)


if __name__ == "__main__":
    sys.exit(main())

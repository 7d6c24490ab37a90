"""The AsyncAPI 3 document of the WebSocket, from the frames' models and the table of permissions.

``python -m opencrust_gateway.asyncapi`` writes docs/contracts/gateway/websocket.json; ``--check`` says whether it has
drifted. In words: docs/websocket.md. https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import opencrust
from opencrust.access import Scope
from opencrust.contracts import Approval, EventType
from opencrust_gateway import frames
from opencrust_gateway.generated import write_or_check
from opencrust_gateway.permissions import OPERATIONS

FILE = Path("docs/contracts/gateway/websocket.json")
_REF = "#/components/schemas/{model}"

PARAMS: dict[str, type[BaseModel]] = {
    "ping": frames.NoParams,
    "open": frames.ConversationParams,
    "resume": frames.ResumeParams,
    "close": frames.ConversationParams,
    "send": frames.SendParams,
    "stop": frames.ConversationParams,
    "approve": frames.ApproveParams,
}
"""Each operation's parameters."""

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "integer"}
_OBJECT: dict[str, Any] = {"type": "object"}
_REPLY = {"seq": _NUMBER, "reply_id": _TEXT, "text": _TEXT, "finish": {"enum": ["complete", "stopped", "failed"]}}
_LIVE = {"attempt": _NUMBER, "index": _NUMBER}
_EVENTS: dict[str, dict[str, Any]] = {
    "message": {"text": _TEXT, "at": _TEXT},
    **{kind.value: _LIVE for kind in EventType},
    "delta": _LIVE | {"text": _TEXT},
    "tool": _LIVE | {"data": _OBJECT},
    "reply": _REPLY | {"model": _TEXT, "at": _TEXT},
    "approval": {"approval": {"$ref": _REF.format(model="Approval")}},
}
"""Each event's own fields."""


def document() -> dict[str, Any]:
    """The whole document."""
    kinds: set[type[BaseModel]] = {*PARAMS.values(), frames.Auth, Approval}
    models = sorted(kinds, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    messages = {"auth": _sent({"$ref": _REF.format(model="Auth")}, "The first frame, where no credential came before.")}
    messages |= {f"req.{op}": _request(op) for op in OPERATIONS}
    answers = {
        "hello": _frame("hello", {"v": _NUMBER, "authenticated": {"type": "boolean"}, "limits": _OBJECT}),
        "auth.answer": _frame("auth", {"ok": {"type": "boolean"}}),
        "res": _frame("res", {"id": {"type": ["string", "null"]}, "ok": {"type": "boolean"}}),
        **{f"event.{name}": _event(name, own) for name, own in _EVENTS.items()},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "OpenCrust's gateway: the WebSocket, version 1",
            "version": opencrust.__version__,
            "description": "In words: docs/websocket.md. Further fields and events may come; clients ignore them.",
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": {"host": "127.0.0.1:3888", "protocol": "ws"}},
        "channels": {"socket": {"address": "/v1/ws", "messages": messages | answers}},
        "operations": {
            "client": {"action": "receive", "channel": _CHANNEL, "messages": _refs(messages)},
            "gateway": {"action": "send", "channel": _CHANNEL, "messages": _refs(answers)},
        },
        "components": {"schemas": schemas.get("$defs", {})},
    }


_CHANNEL = {"$ref": "#/channels/socket"}


def _refs(messages: dict[str, Any]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/socket/messages/{name}"} for name in messages]


def _request(op: str) -> dict[str, Any]:
    need = OPERATIONS[op]
    scope = need.value if isinstance(need, Scope) else "any"
    params = {"$ref": _REF.format(model=PARAMS[op].__name__)}
    fields = {"type": {"const": "req"}, "id": _TEXT, "op": {"const": op}, "params": params}
    payload = {"type": "object", "required": ["type", "id", "op"], "properties": fields}
    return _sent(payload, f"Operation {op}; scope: {scope}.") | {"x-scope": scope}


def _sent(payload: dict[str, Any], summary: str) -> dict[str, Any]:
    return {"summary": summary, "payload": payload}


def _frame(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    properties = {"type": {"const": kind}} | fields
    return {"payload": {"type": "object", "required": ["type", *fields], "properties": properties}}


def _event(name: str, own: dict[str, Any]) -> dict[str, Any]:
    about = {"conversation": {"type": ["string", "null"]}} if name == "approval" else {"conversation": _TEXT}
    about |= {} if name == "approval" else {"message_id": _TEXT}
    return _frame("event", {"event": {"const": name}, **about, **own})


def main(arguments: list[str] | None = None) -> int:
    """Write the document, or check it. Exit code 1: it is not what the code says."""
    wanted = json.dumps(document(), indent=2, sort_keys=True) + "\n"
    return write_or_check(arguments, module="opencrust_gateway.asyncapi", description=__doc__, file=FILE, wanted=wanted)


if __name__ == "__main__":
    sys.exit(main())

"""The documents generated from the models and the registry: JSON Schemas, and one AsyncAPI 3 document.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

import json
import re
from dataclasses import dataclass

import opencrust
from opencrust.bus import subjects
from opencrust.bus.conf import rights_of
from opencrust.bus.registry import IDENTITIES, STREAMS
from opencrust.contracts import (
    Approval,
    InboundMessage,
    OutboundMessage,
    PluginRecord,
    Receipt,
    SessionView,
    TurnEvent,
)
from opencrust.contracts.base import Versioned

MODELS: tuple[type[Versioned], ...] = (
    Approval,
    InboundMessage,
    OutboundMessage,
    PluginRecord,
    Receipt,
    TurnEvent,
    SessionView,
)


@dataclass(frozen=True, slots=True)
class ChannelDoc:
    """One template of the registry: what travels there, and what it is for."""

    template: str
    summary: str
    model: type[Versioned] | None = None


CHANNELS = (
    ChannelDoc(subjects.MSG_IN, "A message that came in, stored before its platform is told so.", InboundMessage),
    ChannelDoc(
        subjects.MSG_OUT, "A reply, stored in a work queue until its channel has delivered it.", OutboundMessage
    ),
    ChannelDoc(
        subjects.LOG,
        "Every stored reply again: the conversation's log, and live news for its channel.",
        OutboundMessage,
    ),
    ChannelDoc(subjects.SAID, "A message of the web's, once it is stored: news for every tab.", InboundMessage),
    ChannelDoc(subjects.EVT_CONV, "Live events of a running turn; lossy by design.", TurnEvent),
    ChannelDoc(subjects.EVT_CFG, "The person's configuration for one service, whenever it changes."),
    ChannelDoc(subjects.EVT_ACCESS, "A person, the policy or the notices of a channel, whenever they change."),
    ChannelDoc(subjects.EVT_APPROVALS, "An approval was asked for, decided, or expired.", Approval),
    ChannelDoc(subjects.EVT_PLUGINS, "A plugin was installed, granted, disabled or removed.", PluginRecord),
    ChannelDoc(subjects.EVT_TOKEN, "A token was made, changed or revoked."),
    ChannelDoc(subjects.CTL_STOP, "Stops the running turn of a conversation. Empty body."),
    ChannelDoc(subjects.CTL_DLQ, "Requests to the dead-letter mover: list, show, redrive."),
    ChannelDoc(subjects.CTL_APPROVALS, "Requests to the agent: list approvals, decide one."),
    ChannelDoc(subjects.CTL_PLUGINS, "Requests to the agent: inspect, install, list, call, disable, remove plugins."),
    ChannelDoc(
        subjects.PAIR_REQ,
        "Requests to the gateway's pairing desk. Adapters, for their own channel: request, redeem, decide; the command "
        "line: list, people, invite, decide, set, remove, policy.",
    ),
    ChannelDoc(subjects.RECEIPT, "What became of a reply on its platform.", Receipt),
    ChannelDoc(subjects.MEDIA, "A part of an attachment's bytes, under the SHA-256 of the whole."),
    ChannelDoc(subjects.PLUGIN, "A part of a plugin's component, under the SHA-256 of the whole."),
    ChannelDoc(subjects.VAULT_REQ, "Signed requests to the vault; the reply is sealed to the asker's fresh key."),
    ChannelDoc(subjects.VAULT_ROTATED, "The vault says that a credential of this service changed; signed."),
    ChannelDoc(subjects.AUDIT, "Audit records; the stream can be neither purged nor deleted."),
    ChannelDoc(subjects.DLQ, "Dead letters, as they were, with headers that say why."),
)

_LAST = re.compile(r"\{(\w+)\+\}")


def documents() -> dict[str, str]:
    """File name → text, for the folder ``docs/contracts``."""
    schemas = {f"{model.__name__}.schema.json": _pretty(model.model_json_schema()) for model in MODELS}
    return {**schemas, "asyncapi.json": _pretty(asyncapi())}


def asyncapi() -> dict[str, object]:
    """The AsyncAPI 3 document."""
    channels, operations = {}, {}
    for doc in CHANNELS:
        name = _name(doc.template)
        channels[name] = _channel(doc)
        for identity in IDENTITIES:
            for action in sorted(
                {right.action for right in rights_of(identity) if _covers(right.subject, doc.template)}
            ):
                verb = "send" if action == "publish" else "receive"
                operations[f"{identity.service}.{verb}.{name}"] = {
                    "action": verb,
                    "channel": {"$ref": f"#/channels/{name}"},
                    "summary": f"{identity.service} may {action} {'to' if verb == 'send' else 'on'} it.",
                }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "OpenCrust's bus",
            "version": opencrust.__version__,
            "description": "Generated from opencrust.bus.registry and opencrust.contracts. Who may do what is the "
            "same table that nats.conf is generated from.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "bus": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "TLS 1.3, client certificates."}
        },
        "channels": channels,
        "operations": operations,
        "components": {"schemas": {m.__name__: m.model_json_schema(ref_template=_REF % m.__name__) for m in MODELS}},
    }


_REF = "#/components/schemas/%s/$defs/{model}"


def _channel(doc: ChannelDoc) -> dict[str, object]:
    stream = next((s.name for s in STREAMS if any(_under(p, doc.template) for p in s.subjects)), None)
    described: dict[str, object] = {
        "address": _LAST.sub(r"{\1}", doc.template),
        "summary": doc.summary,
        "description": f"Stored in the stream {stream}." if stream else "Core NATS: at most once.",
        "parameters": {name: {} for name in re.findall(r"\{(\w+)", doc.template)},
    }
    if doc.model is not None:
        payload = {"$ref": f"#/components/schemas/{doc.model.__name__}"}
        described["messages"] = {doc.model.__name__: {"payload": payload}}
    return described


def _name(template: str) -> str:
    return re.sub(r"\.?\{\w+\+?\}", "", template)


def _under(pattern: str, template: str) -> bool:
    return template.startswith(pattern.removesuffix(">"))


def _covers(subject: str, template: str) -> bool:
    """Whether a right's subject is this template with some tokens filled in."""
    want, have = subject.split("."), template.split(".")
    return len(want) == len(have) and all(h.startswith("{") or h == w for w, h in zip(want, have, strict=True))


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"

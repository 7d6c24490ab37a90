"""Subject names: the templates that the whole house shares, and the builders that fill them.

A template's ``{placeholders}`` are single tokens, except a last ``{…+}`` which may be several. Templates are the
low-cardinality names of spans, the channels of the AsyncAPI document, and the rows of the permission matrix.
"""

import re
import zlib

PARTITIONS = 16
"""Replies of one channel go out in so many lanes, each in order: a conversation always takes the same one."""

MSG_IN = "msg.in.{channel}.{conv}"
MSG_OUT = "msg.out.{channel}.{partition}.{conv}"
LOG = "log.{channel}.{conv}"
SAID = "said.{channel}.{conv}"
EVT_CONV = "evt.conv.{channel}.{conv}"
EVT_CFG = "evt.cfg.{service}.{key+}"
EVT_ACCESS = "evt.access.{channel}.{key+}"
EVT_APPROVALS = "evt.approvals.{id}"
EVT_PLUGINS = "evt.plugins.{key+}"
EVT_TOKEN = "evt.token.{id}"  # noqa: S105 - a subject, no password
CTL_STOP = "ctl.stop.{channel}.{conv}"
CTL_DLQ = "ctl.dlq.{op}"
CTL_APPROVALS = "ctl.approvals.{service}.{op}"
CTL_PLUGINS = "ctl.plugins.{service}.{op}"
PAIR_REQ = "pair.req.{service}.{op}"
RECEIPT = "receipt.{channel}.{conv}"
MEDIA = "media.{channel}.{sha256}.{part}"
PLUGIN = "plugin.{sha256}.{part}"
VAULT_REQ = "vault.req.{service}.{op}"
VAULT_ROTATED = "vault.rotated.{service}"
AUDIT = "audit.{service}"
DLQ = "dlq.{stream}.{consumer}"

TEMPLATES = (
    MSG_IN,
    MSG_OUT,
    LOG,
    SAID,
    EVT_CONV,
    EVT_CFG,
    EVT_ACCESS,
    EVT_APPROVALS,
    EVT_PLUGINS,
    EVT_TOKEN,
    CTL_STOP,
    CTL_DLQ,
    CTL_APPROVALS,
    CTL_PLUGINS,
    PAIR_REQ,
    RECEIPT,
    MEDIA,
    PLUGIN,
    VAULT_REQ,
    VAULT_ROTATED,
    AUDIT,
    DLQ,
)

_TOKEN = re.compile(r"[A-Za-z0-9_=/-]+")
_PLACEHOLDER = re.compile(r"\{(\w+)(\+?)\}")


def _fill(template: str, **tokens: str) -> str:
    for name, value in tokens.items():
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"{name} of {template} must be one subject token of [A-Za-z0-9_=/-]")
    return _PLACEHOLDER.sub(lambda match: tokens[match[1]], template)


def msg_in(channel: str, conv: str) -> str:
    """Where a channel stores what came in. Stream MSG_IN."""
    return _fill(MSG_IN, channel=channel, conv=conv)


def msg_out(channel: str, conv: str) -> str:
    """Where the agent stores a reply. Stream MSG_OUT, a work queue, in the conversation's own lane."""
    return _fill(MSG_OUT, channel=channel, partition=str(partition(conv)), conv=conv)


def partition(conv: str) -> int:
    """The lane of a conversation, 0 to :data:`PARTITIONS` - 1: CRC-32 of its key, the same in every process."""
    return zlib.crc32(conv.encode()) % PARTITIONS


def log(channel: str, conv: str) -> str:
    """Where the server republishes every stored reply. Stream CONVLOG, and live for the channel."""
    return _fill(LOG, channel=channel, conv=conv)


def evt_conv(channel: str, conv: str) -> str:
    """Live events of a running turn. Core NATS: lossy by design."""
    return _fill(EVT_CONV, channel=channel, conv=conv)


def ctl_stop(channel: str, conv: str) -> str:
    """Stops the running turn of a conversation."""
    return _fill(CTL_STOP, channel=channel, conv=conv)


def ctl_dlq(op: str) -> str:
    """Requests to the dead-letter mover."""
    return _fill(CTL_DLQ, op=op)


def ctl_approvals(service: str, op: str) -> str:
    """Questions of one service to the agent about approvals."""
    return _fill(CTL_APPROVALS, service=service, op=op)


def ctl_plugins(service: str, op: str) -> str:
    """Questions of one service to the agent about plugins."""
    return _fill(CTL_PLUGINS, service=service, op=op)


def pair_req(service: str, op: str) -> str:
    """Questions of one service to the gateway's pairing desk."""
    return _fill(PAIR_REQ, service=service, op=op)


def receipt(channel: str, conv: str) -> str:
    """Where a channel says what became of a reply. Stream RECEIPTS."""
    return _fill(RECEIPT, channel=channel, conv=conv)


def media(channel: str, sha256: str, part: int) -> str:
    """One part of an attachment's bytes. Stream MEDIA."""
    return _fill(MEDIA, channel=channel, sha256=sha256, part=str(part))


def plugin(sha256: str, part: int) -> str:
    """One part of a plugin's component. Stream PLUGINS."""
    return _fill(PLUGIN, sha256=sha256, part=str(part))


def vault_req(service: str, op: str) -> str:
    """Requests of one service to the vault."""
    return _fill(VAULT_REQ, service=service, op=op)


def vault_rotated(service: str) -> str:
    """The vault tells one service that a credential of its changed."""
    return _fill(VAULT_ROTATED, service=service)


def audit(service: str) -> str:
    """Where a service stores its audit records. Stream AUDIT."""
    return _fill(AUDIT, service=service)


def dlq(stream: str, consumer: str) -> str:
    """Where dead letters of a consumer lie. Stream DLQ."""
    return _fill(DLQ, stream=stream, consumer=consumer)


def wildcard(template: str, **tokens: str) -> str:
    """The subscription pattern of a template: given tokens filled in, others ``*`` (or ``>`` for ``{…+}``).

    A template that ends in a free placeholder keeps a single ``*``: our last tokens never contain a dot.
    """
    return _PLACEHOLDER.sub(lambda match: tokens.get(match[1], ">" if match[2] else "*"), template)


def template_of(subject: str) -> str:
    """The template that ``subject`` was built from, for names of low cardinality; the first token if none fits."""
    return next((template for template, pattern in _PATTERNS if pattern.fullmatch(subject)), subject.split(".", 1)[0])


def last_token(subject: str) -> str:
    """The conversation of a ``….<conv>`` subject."""
    return subject.rsplit(".", 1)[-1]


def _compile(template: str) -> re.Pattern[str]:
    pieces = _PLACEHOLDER.split(template)  # literal, name, plus, literal, name, plus, …, literal
    pattern = re.escape(pieces[0])
    for plus, literal in zip(pieces[2::3], pieces[3::3], strict=True):
        pattern += (r".+" if plus else r"[^.]+") + re.escape(literal)
    return re.compile(pattern)


_PATTERNS = tuple((template, _compile(template)) for template in TEMPLATES)

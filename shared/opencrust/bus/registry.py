"""The one table of the bus: streams, buckets, durables, identities, and what each identity may do.

Everything else is derived from it and written nowhere twice: ``nats.conf`` (:mod:`opencrust.bus.conf`), what the
provisioner creates (:mod:`opencrust.bus.topology`), the AsyncAPI document, and the permission matrix that the security
tests walk through.

**Accounts.** JetStream lives in the account BUS, where only the provisioner and the dead-letter mover are users. Every
other identity has an account of its own, without JetStream, that imports single subjects. In a shared account a
restricted user can make the *server* publish a JetStream reply onto a subject that the user itself may not publish to
(nats-server issue 8274); across accounts the reply stays inside the asker's own account. The design kept the agent in
BUS; it handles hostile text all day, so it is isolated like the rest.

What no stream keeps (live events, stop, requests) is owned by the account of the service that says or serves it, and
imported from there: a message that came into an account by one import does not leave it by another.
"""

from dataclasses import dataclass

from opencrust.bus import subjects
from opencrust.bus.grants import (
    BUS_ACCOUNT,
    Ask,
    Consume,
    Grant,
    Inspect,
    Manage,
    Publish,
    Purge,
    ReadKeys,
    ReadLast,
    ReadStream,
    Remove,
    Serve,
    Subscribe,
    WriteKeys,
)

MiB = 1024 * 1024
SECOND = 1.0
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE

BUS = BUS_ACCOUNT
AGENT = "AGENT"
GATEWAY = "GATEWAY"
VAULT = "VAULT"
SYS = "SYS"
"""The server's own account."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A JetStream stream. Times in seconds, sizes in bytes."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age: float = 0.0
    work_queue: bool = False
    duplicate_window: float = 2 * MINUTE
    discard_new: bool = False
    """Refuse the publisher (back-pressure) instead of dropping the oldest."""
    permanent: bool = False
    """Neither messages nor the whole stream can be deleted or purged."""
    republish: tuple[str, str] | None = None
    """Stored messages are also published, from a source pattern to a destination."""
    latest_only: bool = False
    """Keep the last message of each subject."""
    copies: tuple[str, str] | None = None
    """Also holds a copy of another stream's messages: that stream, and the pattern."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A key-value bucket: a stream ``KV_<name>`` that keeps the last value of each key.

    All on file, leases too: a server without a cluster forgets streams in memory altogether when it restarts.
    """

    name: str
    max_bytes: int
    evict_oldest: bool = False
    """When it is full, forget the key that was written longest ago instead of refusing a new one."""
    history: int = 1
    republish: tuple[str, str] | None = None

    @property
    def stream(self) -> str:
        """The stream behind the bucket."""
        return f"KV_{self.name}"


@dataclass(frozen=True, slots=True)
class Durable:
    """A durable pull consumer with explicit acks. ``ack_wait`` in seconds; ``max_deliver`` -1 is for ever."""

    stream: str
    name: str
    filter_subject: str
    ack_wait: float
    max_deliver: int = -1
    max_ack_pending: int = 10_000


@dataclass(frozen=True, slots=True)
class Channel:
    """A way in and out of the house, and the service that is its adapter."""

    name: str
    service: str


@dataclass(frozen=True, slots=True)
class BusIdentity:
    """A service as the bus sees it: its account and all it may do there."""

    service: str
    account: str
    grants: tuple[Grant, ...]
    tool: bool = False
    """Tools (the provisioner, the command line) come and go, and answer no questions."""


CHANNELS = (
    Channel("web", "gateway"),
    Channel("telegram", "channel-telegram"),
    Channel("discord", "channel-discord"),
    Channel("slack", "channel-slack"),
    Channel("whatsapp", "channel-whatsapp"),
    Channel("imessage", "channel-imessage"),
)

STREAMS = (
    Stream(
        "MSG_IN",
        ("msg.in.>",),
        max_bytes=1024 * MiB,
        max_age=7 * DAY,
        duplicate_window=10 * MINUTE,
        discard_new=True,
        republish=("msg.in.web.*", "said.web.{{wildcard(1)}}"),
    ),
    Stream(
        "MSG_OUT",
        ("msg.out.>",),
        max_bytes=512 * MiB,
        work_queue=True,
        duplicate_window=10 * MINUTE,
        discard_new=True,
        republish=("msg.out.*.*.*", "log.{{wildcard(1)}}.{{wildcard(3)}}"),
    ),
    Stream("CONVLOG", ("log.>",), max_bytes=1024 * MiB, max_age=90 * DAY),
    Stream("WEBLOG", (), max_bytes=512 * MiB, max_age=90 * DAY, copies=("CONVLOG", "log.web.>")),
    Stream("DLQ", ("dlq.>",), max_bytes=256 * MiB, max_age=30 * DAY, duplicate_window=10 * MINUTE, discard_new=True),
    Stream(
        "DLQ_ADV",
        ("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",),
        max_bytes=64 * MiB,
        max_age=7 * DAY,
        work_queue=True,
    ),
    Stream("RECEIPTS", ("receipt.>",), max_bytes=128 * MiB, max_age=7 * DAY, duplicate_window=10 * MINUTE),
    Stream("MEDIA", ("media.>",), max_bytes=4096 * MiB, max_age=30 * DAY, latest_only=True),
    Stream("PLUGINS", ("plugin.>",), max_bytes=2048 * MiB, discard_new=True, latest_only=True),
    Stream("AUDIT", ("audit.>",), max_bytes=512 * MiB, permanent=True, discard_new=True),
)

BUCKETS = (
    Bucket("sess", max_bytes=1024 * MiB, evict_oldest=True),
    Bucket("lease", max_bytes=16 * MiB, evict_oldest=True),
    Bucket("ledger", max_bytes=256 * MiB),
    Bucket("cfg", max_bytes=16 * MiB, history=8, republish=("$KV.cfg.>", "evt.cfg.>")),
    Bucket("access", max_bytes=64 * MiB, history=8, republish=("$KV.access.>", "evt.access.>")),
    Bucket("pairing", max_bytes=16 * MiB),
    Bucket("approvals", max_bytes=32 * MiB, republish=("$KV.approvals.>", "evt.approvals.>")),
    Bucket("usage", max_bytes=64 * MiB),
    Bucket("plugins", max_bytes=16 * MiB, history=8, republish=("$KV.plugins.>", "evt.plugins.>")),
    Bucket("plugindata", max_bytes=256 * MiB),
    Bucket("token", max_bytes=16 * MiB, republish=("$KV.token.>", "evt.token.>")),
    Bucket("index", max_bytes=32 * MiB, evict_oldest=True),
)

AGENT_DURABLE = Durable("MSG_IN", "agent", "msg.in.>", ack_wait=10 * SECOND)
DLQ_DURABLE = Durable("DLQ_ADV", "dlq", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", ack_wait=30 * SECOND)


def outbound(channel: str) -> tuple[Durable, ...]:
    """The durables from which a channel takes its replies: one a lane, shared by all its senders.

    One reply of a lane is in flight at a time. So replies of a conversation keep their order while replicas come and
    go, and a platform's rate limit holds up one lane (research/channels.md §0.3). The gateway only settles what the log
    has delivered: one durable, no lanes.

    Platforms' channels keep a reply until it is sent or expires (a platform may be away for hours), so they bury
    themselves what can never be sent; the gateway's is a dead letter after five deliveries.
    """
    if channel == "web":
        pattern = subjects.wildcard(subjects.MSG_OUT, channel=channel)
        return (Durable("MSG_OUT", "out-web", pattern, 30 * SECOND, max_deliver=5),)
    return tuple(
        Durable(
            "MSG_OUT",
            f"out-{channel}-{lane}",
            subjects.wildcard(subjects.MSG_OUT, channel=channel, partition=str(lane)),
            5 * SECOND,  # a sender says every 1.5 s that it is at work; one that died holds up its lanes so long
            max_ack_pending=1,
        )
        for lane in range(subjects.PARTITIONS)
    )


DURABLES = (AGENT_DURABLE, DLQ_DURABLE, *(durable for channel in CHANNELS for durable in outbound(channel.name)))


def _vault_client(service: str) -> tuple[Grant, ...]:
    return (
        Ask(subjects.wildcard(subjects.VAULT_REQ, service=service), VAULT),
        Subscribe(subjects.vault_rotated(service), VAULT),
    )


def _channel_grants(channel: Channel) -> tuple[Grant, ...]:
    """What a channel adapter may do: all of its own channel, and nothing of another's."""
    name, service = channel.name, channel.service
    own = f"{name}.>"
    grants: tuple[Grant, ...] = (
        Publish(subjects.wildcard(subjects.MSG_IN, channel=name)),
        *(Consume("MSG_OUT", durable.name) for durable in outbound(name)),
        *(Publish(subjects.dlq("MSG_OUT", durable.name)) for durable in outbound(name)),
        Publish(subjects.wildcard(subjects.RECEIPT, channel=name)),
        Publish(subjects.wildcard(subjects.MEDIA, channel=name)),
        ReadLast("MEDIA", subjects.wildcard(subjects.MEDIA, channel=name)),
        Subscribe(subjects.wildcard(subjects.EVT_CONV, channel=name), AGENT),
        Subscribe(subjects.wildcard(subjects.EVT_CFG, service=service)),
        Publish(subjects.wildcard(subjects.CTL_STOP, channel=name), AGENT),
        Publish(subjects.audit(service)),
        *(grant(bucket, own) for bucket in ("lease", "ledger") for grant in (ReadKeys, WriteKeys)),
        *_vault_client(service),
    )
    return grants + (_WEB_GRANTS if name == "web" else _platform_grants(channel))


def _platform_grants(channel: Channel) -> tuple[Grant, ...]:
    """What a channel to strangers does besides: read who may speak, ask the pairing desk about anybody else, and keep
    what its platform sent and nobody can read."""
    return (
        Publish(subjects.dlq("platform", channel.service)),
        ReadKeys("cfg", f"{channel.service}.>"),
        ReadKeys("access", f"{channel.name}.>"),
        Subscribe(subjects.wildcard(subjects.EVT_ACCESS, channel=channel.name)),
        Ask(subjects.wildcard(subjects.PAIR_REQ, service=channel.service), GATEWAY, share=False),
    )


_WEB_GRANTS: tuple[Grant, ...] = (
    Subscribe(subjects.wildcard(subjects.LOG, channel="web")),
    Subscribe(subjects.wildcard(subjects.SAID, channel="web")),
    Inspect("WEBLOG"),
    ReadStream("WEBLOG"),
    Subscribe(subjects.wildcard(subjects.EVT_TOKEN)),
    ReadKeys("sess", "web.>"),
    ReadKeys("token", ">"),
    WriteKeys("token", ">"),
    Serve(subjects.wildcard(subjects.PAIR_REQ), GATEWAY, "pairing"),
    *(grant(bucket, ">") for bucket in ("access", "pairing") for grant in (ReadKeys, WriteKeys)),
    *(grant("index", "web.>") for grant in (ReadKeys, WriteKeys)),
    *(
        Inspect(f"KV_{bucket}")
        for bucket in ("access", "pairing", "approvals", "usage", "token", "plugins", "index", "cfg")
    ),
    ReadKeys("approvals", ">"),
    ReadKeys("usage", ">"),
    ReadKeys("plugins", ">"),
    ReadKeys("cfg", ">"),
    Subscribe(subjects.wildcard(subjects.EVT_ACCESS)),
    Subscribe(subjects.wildcard(subjects.EVT_APPROVALS)),
    Ask(subjects.wildcard(subjects.CTL_APPROVALS, service="gateway"), AGENT, share=False),
    Ask(subjects.wildcard(subjects.CTL_PLUGINS, service="gateway"), AGENT, share=False),
    Ask(subjects.wildcard(subjects.CTL_DLQ), BUS, share=False),
    Inspect("AUDIT"),
    ReadStream("AUDIT"),
)
"""What the gateway may do besides: follow the log of its own conversations, keep tokens, decide who may speak (the
pairing desk), and show its operator the state of the house."""


def _identities() -> tuple[BusIdentity, ...]:
    provisioner = BusIdentity("provisioner", BUS, (Manage(), WriteKeys("cfg", ">")), tool=True)
    reloader = BusIdentity("reloader", SYS, (Publish("$SYS.REQ.SERVER.*.RELOAD", SYS),), tool=True)
    dlq = BusIdentity(
        "dlq",
        BUS,
        (
            Consume("DLQ_ADV", DLQ_DURABLE.name),
            Remove("MSG_OUT"),
            Remove("DLQ"),
            Inspect("DLQ"),
            Publish(subjects.wildcard(subjects.DLQ)),
            Publish(subjects.wildcard(subjects.MSG_IN)),
            Publish(subjects.wildcard(subjects.MSG_OUT)),
            Publish(subjects.audit("dlq")),
            Serve(subjects.wildcard(subjects.CTL_DLQ), BUS, "dlq"),
        ),
    )
    vault = BusIdentity(
        "vault",
        VAULT,
        (
            Serve(subjects.wildcard(subjects.VAULT_REQ), VAULT, "vault"),
            Publish(subjects.wildcard(subjects.VAULT_ROTATED), VAULT),
            Publish(subjects.audit("vault")),
            ReadLast("AUDIT", subjects.audit("vault")),
        ),
    )
    agent = BusIdentity(
        "agent",
        AGENT,
        (
            Consume("MSG_IN", AGENT_DURABLE.name),
            ReadStream("MSG_IN"),
            Publish(subjects.wildcard(subjects.MSG_OUT)),
            ReadLast("CONVLOG", subjects.wildcard(subjects.LOG)),
            Publish(subjects.wildcard(subjects.EVT_CONV), AGENT),
            Subscribe(subjects.wildcard(subjects.CTL_STOP), AGENT),
            Publish(subjects.dlq("MSG_IN", "agent")),
            Publish(subjects.audit("agent")),
            ReadKeys("sess", ">"),
            WriteKeys("sess", ">"),
            ReadKeys("lease", "conv.>"),
            WriteKeys("lease", "conv.>"),
            Publish(subjects.wildcard(subjects.MSG_IN)),
            ReadLast("MEDIA", subjects.wildcard(subjects.MEDIA)),
            ReadLast("PLUGINS", subjects.wildcard(subjects.PLUGIN)),
            Inspect("PLUGINS"),
            Purge("PLUGINS"),
            *(
                grant(bucket, ">")
                for bucket in ("approvals", "usage", "plugins", "plugindata")
                for grant in (ReadKeys, WriteKeys)
            ),
            *(Inspect(f"KV_{bucket}") for bucket in ("approvals", "usage", "plugins")),
            Serve(subjects.wildcard(subjects.CTL_APPROVALS), AGENT, "agent"),
            Serve(subjects.wildcard(subjects.CTL_PLUGINS), AGENT, "agent"),
            ReadKeys("access", ">"),
            Subscribe(subjects.wildcard(subjects.EVT_ACCESS)),
            Subscribe(subjects.wildcard(subjects.EVT_PLUGINS)),
            ReadKeys("cfg", "agent.>"),
            Subscribe(subjects.wildcard(subjects.EVT_CFG, service="agent")),
            *_vault_client("agent"),
        ),
    )
    cli = BusIdentity(
        "cli",
        "CLI",
        (
            ReadKeys("token", ">"),
            WriteKeys("token", ">"),
            Inspect("KV_token"),
            ReadKeys("cfg", ">"),
            Publish(subjects.wildcard(subjects.CTL_STOP), AGENT),
            *(WriteKeys("ledger", f"{channel.name}.stop.>") for channel in CHANNELS if channel.name != "web"),
            Ask(subjects.wildcard(subjects.CTL_DLQ), BUS, share=False),
            Ask(subjects.wildcard(subjects.CTL_APPROVALS, service="cli"), AGENT, share=False),
            Ask(subjects.wildcard(subjects.CTL_PLUGINS, service="cli"), AGENT, share=False),
            Ask(subjects.wildcard(subjects.PAIR_REQ, service="cli"), GATEWAY, share=False),
            Publish(subjects.wildcard(subjects.PLUGIN)),
            Publish(subjects.audit("cli")),
            *(ReadKeys(bucket, ">") for bucket in ("access", "usage", "plugins", "approvals")),
            *(Inspect(f"KV_{bucket}") for bucket in ("access", "usage", "plugins", "approvals")),
            Inspect("AUDIT"),
            ReadStream("AUDIT"),
        ),
        tool=True,
    )
    channels = tuple(BusIdentity(c.service, account_of(c.service), _channel_grants(c)) for c in CHANNELS)
    return provisioner, reloader, dlq, vault, agent, cli, *channels


def account_of(service: str) -> str:
    """The account of a channel's service: its own."""
    return service.upper().replace("-", "_")


IDENTITIES = _identities()


def identity(service: str) -> BusIdentity:
    """The identity of a service.

    Raises:
        KeyError: no such service in the registry.
    """
    for candidate in IDENTITIES:
        if candidate.service == service:
            return candidate
    raise KeyError(f"{service!r} is not in the registry; known: {', '.join(i.service for i in IDENTITIES)}")

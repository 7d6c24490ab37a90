"""Every identity × every subject of the registry, publish and subscribe, on the real server: the table and no more.

The expectation is worked out from the grants by matching subjects here, not by asking the generated nats.conf.
"""

import asyncio
import json
import re

import pytest

from harness import SERVICES, BusServer
from opencrust.bus import Bus, Message, subjects
from opencrust.bus.conf import rights_of
from opencrust.bus.grants import Right
from opencrust.bus.registry import IDENTITIES, BusIdentity, identity
from opencrust.contracts import conversation_key

CONV = conversation_key("web", "a", "b")
_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"")


def concrete(pattern: str) -> str:
    """A subject that the pattern matches."""
    return ".".join("deep.er" if token == ">" else "some" if token == "*" else token for token in pattern.split("."))


def matches(pattern: str, subject: str) -> bool:
    """NATS subject matching."""
    want, have = pattern.split("."), subject.split(".")
    for position, token in enumerate(want):
        if token == ">":
            return len(have) > position
        if position >= len(have) or token not in ("*", have[position]):
            return False
    return len(want) == len(have)


def local(right: Right, who: BusIdentity) -> str:
    return right.subject if right.owner == who.account else right.local_subject


def may(who: BusIdentity, action: str, subject: str, queue: str = "") -> bool:
    return any(
        right.action == action and matches(local(right, who), subject) and right.queue == queue
        for right in rights_of(who)
    )


ALL_SUBJECTS = sorted(
    {concrete(name) for who in IDENTITIES for right in rights_of(who) for name in (right.subject, right.local_subject)}
    | {"msg.in.telegram.x", "$JS.API.STREAM.PURGE.MSG_IN", "$JS.API.STREAM.DELETE.AUDIT", "$SYS.REQ.SERVER.PING"}
    | {"$JS.API.CONSUMER.CREATE.MSG_IN", "BUS.API.STREAM.LIST", "BUS.API.CONSUMER.CREATE.MSG_IN", "$KV.cfg.agent.x"}
)
ALL_PATTERNS = sorted(
    {right.subject for who in IDENTITIES for right in rights_of(who)}
    | {">", "*", "*.>", "msg.>", "log.>", "vault.>", "_INBOX.>", "evt.>", "$JS.>", "$KV.>", "$SYS.>", "_R_.>", "$SRV.>"}
    | {f"_INBOX.{service}.>" for service in SERVICES}
)


async def _denials(bus: Bus) -> "set[tuple[str, str]]":
    denied: set[tuple[str, str]] = set()

    async def note(error: Exception) -> None:
        violation = _DENIED.search(str(error).lower())
        if violation:
            denied.add((violation[1], violation[2]))

    bus._client._error_cb = note
    return denied


@pytest.mark.parametrize("service", SERVICES)
async def test_publish_and_subscribe_as_the_table_says(bus_server: BusServer, service: str) -> None:
    who = identity(service)
    bus = await bus_server.connect(service)
    denied = await _denials(bus)
    wrong = []
    for subject in ALL_SUBJECTS:
        await bus._client.publish(subject, b"{}")
    await bus._barrier()
    await asyncio.sleep(0.1)
    for subject in ALL_SUBJECTS:
        if (("publish", subject.lower()) not in denied) != may(who, "publish", subject):
            wrong.append(("publish", subject))
    queues = {right.queue for right in rights_of(who)} | {"", "strangers"}
    for queue in sorted(queues):
        denied.clear()
        for pattern in ALL_PATTERNS:
            await bus._client.subscribe(pattern, queue=queue, cb=_ignore)
        await bus._barrier()
        await asyncio.sleep(0.1)
        for pattern in ALL_PATTERNS:
            refused = any(
                subject.split()[0].strip('"') == pattern.lower() for kind, subject in denied if kind != "publish"
            )
            # a plain grant covers queue subscriptions too; a queue grant covers that queue alone
            expected = may(who, "subscribe", pattern) or may(who, "subscribe", pattern, queue)
            if (not refused) != expected:
                wrong.append((f"subscribe[{queue}]", pattern))
    assert wrong == []


def test_the_matrix_has_teeth() -> None:
    """The table says no at least as often as yes: an empty table would pass nothing above."""
    telegram = identity("channel-telegram")
    assert may(telegram, "publish", "msg.in.telegram.x")
    assert not may(telegram, "publish", "msg.in.discord.x")
    assert sum(may(telegram, "publish", subject) for subject in ALL_SUBJECTS) < len(ALL_SUBJECTS) / 4


@pytest.mark.parametrize("service", [s for s in SERVICES if identity(s).account != "BUS"])
async def test_no_service_can_redirect_a_reply_of_the_server(bus_server: BusServer, service: str) -> None:
    """research/nats.md §2.2: the server publishes JetStream replies with its own rights. From an isolated account they
    must not reach a subject of anybody else's: no stream gets a message, no victim hears one."""
    provisioner = await bus_server.connect("provisioner")
    manager = provisioner.jetstream_manager()
    victims = [name for name in ("agent", "gateway", "vault") if name != service]
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    for name in victims:
        bus = await bus_server.connect(name)
        for right in rights_of(identity(name)):
            if right.action == "subscribe" and not right.subject.startswith("$SRV"):
                await bus.subscribe(right.subject, hear, queue=right.queue)
    before = await _counts(manager)
    attacker = await bus_server.connect(service)
    denied = await _denials(attacker)
    asks = [local(right, identity(service)) for right in rights_of(identity(service)) if right.action == "publish"]
    targets = [
        f"msg.in.discord.{CONV}",
        subjects.msg_out("discord", CONV),
        "vault.req.agent.get",
        "_INBOX.agent.x",
        "evt.cfg.agent.providers",
        "$KV.cfg.agent.providers",
        "$KV.token.forged",
        f"log.web.{CONV}",
        f"ctl.stop.web.{CONV}",
        "audit.vault",
    ]
    aimed = [target for target in targets if not may(identity(service), "publish", target)]
    requests = [
        subject
        for subject in map(concrete, asks)
        if "DIRECT.GET" in subject or "MSG.NEXT" in subject or "INFO" in subject
    ]
    payload = json.dumps({"batch": 1, "expires": 200_000_000}).encode()
    for subject in requests:
        for target in aimed:
            await attacker._client.publish(subject, payload, reply=target)
    await attacker._barrier()
    await asyncio.sleep(0.5)
    assert not denied, "the requests themselves are allowed: the attack must be stopped by where the reply goes"
    assert await _counts(manager) == before
    assert [message.subject for message in heard if message.subject in aimed] == []


async def _counts(manager: object) -> dict[str, int]:
    infos = await manager.streams_info()  # type: ignore[attr-defined]
    return {info.config.name: info.state.last_seq for info in infos}


async def test_the_attack_is_real_where_accounts_are_shared(bus_server: BusServer) -> None:
    """The control of the test above: from inside BUS the same request *does* store a forged message. That is why nobody
    but the provisioner and the dead-letter mover is in BUS."""
    provisioner, insider = await bus_server.connect("provisioner"), await bus_server.connect("dlq")
    assert not may(identity("dlq"), "publish", f"audit.{CONV}")
    before = await _counts(provisioner.jetstream_manager())
    await insider._client.publish("$JS.API.STREAM.INFO.DLQ", b"", reply=f"audit.{CONV}")
    await insider._barrier()
    await asyncio.sleep(0.3)
    after = await _counts(provisioner.jetstream_manager())
    assert after["AUDIT"] == before["AUDIT"] + 1


async def test_a_forged_request_info_is_overwritten(bus_server: BusServer) -> None:
    vault, telegram = await bus_server.connect("vault"), await bus_server.connect("channel-telegram")
    seen: asyncio.Queue[Message] = asyncio.Queue()
    await vault.subscribe("vault.req.*.*", seen.put, queue="vault")
    await telegram._client.publish(
        "vault.req.channel-telegram.get",
        b"",
        headers={"Nats-Request-Info": '{"user": "spiffe://opencrust.local/agent"}'},
    )
    message = await asyncio.wait_for(seen.get(), 2)
    told = json.loads(message.headers["Nats-Request-Info"])
    assert told["user"] == "spiffe://opencrust.local/channel-telegram"
    assert told["acc"] == "CHANNEL_TELEGRAM"


async def test_the_vault_cannot_be_made_to_answer_elsewhere(bus_server: BusServer) -> None:
    """A request whose reply subject is a stranger's: the answer stays in the asker's own account."""
    vault, telegram = await bus_server.connect("vault"), await bus_server.connect("channel-telegram")
    provisioner, agent = await bus_server.connect("provisioner"), await bus_server.connect("agent")
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    async def answer(message: Message) -> None:
        await vault.respond(message, b"secret")

    await agent.subscribe("_INBOX.agent.>", hear)
    await vault.subscribe("vault.req.*.*", answer, queue="vault")
    before = await _counts(provisioner.jetstream_manager())
    for target in (subjects.msg_out("discord", CONV), "_INBOX.agent.x", f"msg.in.web.{CONV}"):
        await telegram._client.publish("vault.req.channel-telegram.get", b"", reply=target)
    await telegram._barrier()
    await asyncio.sleep(0.3)
    assert await _counts(provisioner.jetstream_manager()) == before
    assert heard == []


async def _ignore(message: object) -> None:
    return None

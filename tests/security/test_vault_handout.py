"""Attacks on the hand-out's bytes (rows 17–32, 38, 40–44, 49 of the attack list), from bytes to bytes.

What needs a broker (rows 16, 18, 19, 21, 24, 25, 33, 34) is in tests/security/test_vault_bus.py.
"""

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec

from opencrust.credentials import wire
from opencrust.credentials.errors import Untrusted
from opencrust.credentials.wire import Asking, Lease, Status
from opencrust.identity.ca import Authority
from opencrust_vault import audit, handout
from opencrust_vault.replay import ReplayCache
from simulators.vault_desk import PROVIDER_KEY, TELEGRAM_TOKEN, House, Party, broker_says

NAME = "provider.openai.api_key"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = House(tmp_path / "vault")
    yield opened
    opened.close()


def resigned(asking: Asking, signing_key: ec.EllipticCurvePrivateKey, **changes: object) -> Asking:
    """The same request with other fields, signed again."""
    length = int.from_bytes(asking.data[:2], "big")
    content = {**json.loads(asking.data[2 : 2 + length]), **changes}
    text = json.dumps({name: value for name, value in content.items() if value is not None}).encode()
    signature = signing_key.sign(b"opencrust-vault-request/1\0" + text, ec.ECDSA(hashes.SHA256()))
    data = len(text).to_bytes(2, "big") + text + signature
    return Asking(data, hashlib.sha256(data).digest(), asking.private_key)


async def denied(house: House, asking: Asking, *, subject: str = "vault.req.agent.get", user: str = "agent") -> str:
    """Send it; it must be denied. The reason in the audit."""
    answer = await house.send(subject, broker_says(user), asking)
    assert answer.status is Status.DENIED
    assert answer.value == b""
    last = house.events()[-1]
    assert last["event"] == "denied"
    return str(last["reason"])


async def test_the_control_a_granted_request_is_answered(house: House) -> None:
    answer = await house.get(house.agent, NAME, "chat")
    assert (answer.status, answer.value) == (Status.OK, PROVIDER_KEY)
    assert answer.lease is not None
    assert answer.lease.ttl == 300
    last = house.events()[-1]
    assert (last["event"], last["service"], last["name"], last["purpose"]) == ("lease", "agent", NAME, "chat")
    assert last["lease"] == answer.lease.lease


async def test_row_17_expired_or_foreign_certificate_inside_the_body(house: House) -> None:
    foreign = Party(Authority.create(), "agent")
    assert "authority" in await denied(house, house.asking(foreign, NAME, "chat"))
    house.clock.now = house.agent.certificate.not_valid_after_utc.timestamp() + 1
    asking = house.asking(house.agent, NAME, "chat")
    reply = await house.desk.answer("vault.req.agent.get", broker_says("agent"), asking.data)
    assert reply[1] == Status.DENIED
    assert "expired" in str(house.events()[-1]["reason"])


async def test_row_18_certificate_that_expires_between_two_requests(house: House) -> None:
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK
    asking = house.asking(house.agent, NAME, "chat", send_certificate=False, now=house.clock.now + 90000)
    house.clock.now += 90000
    reply = await house.desk.answer("vault.req.agent.get", broker_says("agent"), asking.data)
    assert reply[1] == Status.DENIED
    assert "expired" in str(house.events()[-1]["reason"])


async def test_row_19_revoked_certificate(house: House) -> None:
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK
    house.desk.policy = house.desk.policy.with_revoked_certificate(
        house.desk.book.learn(house.agent.der).fingerprint.hex()
    )
    assert await denied(house, house.asking(house.agent, NAME, "chat")) == "the certificate is revoked"
    renewed = Party(house.authority, "agent")
    assert (await house.get(renewed, NAME, "chat")).status is Status.OK


async def test_row_20_replay(house: House) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    assert (await house.send("vault.req.agent.get", broker_says("agent"), asking)).status is Status.OK
    assert await denied(house, asking) == "replayed"
    house.clock.now += 29
    assert await denied(house, asking) == "replayed"
    house.clock.now += 2
    answer = await house.send("vault.req.agent.get", broker_says("agent"), asking)
    assert answer.status is Status.CLOCK


async def test_row_21_subject_of_another_service(house: House) -> None:
    asking = house.asking(house.telegram, NAME, "chat")
    assert "disagree" in await denied(house, asking)
    lying = house.asking(house.telegram, NAME, "chat", service="agent")
    assert "disagree" in await denied(house, lying, user="channel-telegram")


async def test_row_22_the_broker_forwards_a_foreign_valid_request(house: House) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    assert "disagree" in await denied(house, asking, subject="vault.req.channel-telegram.get", user="channel-telegram")
    assert "broker" in await denied(house, house.asking(house.agent, NAME, "chat"), user="channel-telegram")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"nats-request-info": broker_says("agent")["Nats-Request-Info"]},
        {"Nats-Request-Info": "not json"},
        {"Nats-Request-Info": "[]"},
        {"Nats-Request-Info": "{}"},
        broker_says("agent", kind="JetStream"),
        broker_says("agent", user="agent"),
        broker_says("channel-telegram"),
    ],
)
async def test_row_22_without_the_brokers_word_nothing(house: House, headers: dict[str, str]) -> None:
    answer = await house.send("vault.req.agent.get", headers, house.asking(house.agent, NAME, "chat"))
    assert answer.status is Status.DENIED


async def test_row_23_compromised_channel_asks_for_anothers_secret(house: House) -> None:
    for name, purpose in (
        (NAME, "chat"),
        (NAME, "connect"),
        ("channel.discord.token", "connect"),
        ("channel.telegram.token", "chat"),
    ):
        answer = await house.get(house.telegram, name, purpose)
        assert answer.status is Status.DENIED
    assert (await house.get(house.telegram, "channel.telegram.token", "connect")).value == TELEGRAM_TOKEN


async def test_unknown_and_forbidden_look_the_same(house: House) -> None:
    replies = []
    for name in ("provider.absent.api_key", "channel.telegram.token", "mail.password"):
        asking = house.asking(house.agent, name, "chat")
        reply = await house.desk.answer("vault.req.agent.get", broker_says("agent"), asking.data)
        replies.append((reply[1], len(reply) - reply[3]))
    assert len(set(replies)) == 1


async def test_row_26_flipped_old_or_forged_reply(house: House) -> None:
    first, second = house.asking(house.agent, NAME, "chat"), house.asking(house.agent, NAME, "chat")
    old = await house.desk.answer("vault.req.agent.get", broker_says("agent"), first.data)
    with pytest.raises(Untrusted):
        wire.open_reply(old, second, house.book)
    # Anybody can seal to the client's key; only the vault can sign.
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    signed = wire.parse_request(second.data)
    body = wire.seal(signed, Lease(name=NAME, version=9, lease="x", ttl=9, not_after=10**13), b"attacker's token")
    assert suite.decrypt(body, second.private_key, info=b"opencrust-vault-reply/1\0" + signed.digest)
    for forger in (house.telegram, Party(Authority.create(), "vault")):
        forged = wire.reply(forger.key, forger.der, signed.digest, Status.OK, body)
        with pytest.raises(Untrusted):
            wire.open_reply(forged, second, house.book)


async def test_row_27_bit_flips_garbage_and_nothing(house: House) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    for bit in range(0, len(asking.data) * 8, 5):
        house.clock.now += 0.1
        changed = bytearray(asking.data)
        changed[bit // 8] ^= 1 << bit % 8
        reply = await house.desk.answer("vault.req.agent.get", broker_says("agent"), bytes(changed))
        assert reply[1] != Status.OK
    for data in (b"", b"\0", os.urandom(300), b"\xff" * 4000):
        house.clock.now += 1
        assert (await house.desk.answer("vault.req.agent.get", broker_says("agent"), data))[1] != Status.OK
    house.clock.now += 60
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK


@pytest.mark.parametrize("subject", ["", "vault", "vault.req.agent", "vault.req.agent.get.x", "vault.req.agent.list"])
async def test_row_27_odd_subjects(house: House, subject: str) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    assert (await house.send(subject, broker_says("agent"), asking)).status is Status.DENIED


async def test_row_28_oversized(house: House) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    big = Asking(asking.data + bytes(60_000), asking.digest, asking.private_key)
    reply = await house.desk.answer("vault.req.agent.get", broker_says("agent"), big.data)
    assert reply[1] == Status.DENIED
    assert "too large" in str(house.events()[-1]["reason"])


@pytest.mark.parametrize(
    ("skew", "status"),
    [(10, Status.OK), (29, Status.OK), (31, Status.CLOCK), (120, Status.CLOCK), (-120, Status.CLOCK)],
)
async def test_row_29_clock_skew(house: House, skew: int, status: Status) -> None:
    house.desk.replay = ReplayCache(house.clock.now - 3600)
    answer = await house.get(house.agent, NAME, "chat", now=house.clock.now + skew)
    assert answer.status is status
    if status is Status.CLOCK:
        assert answer.vault_time == int(house.clock.now * 1000), "the client can report by how much"


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
async def test_row_30_protocol_downgrade(house: House, version: object) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    changed = resigned(asking, house.agent.key, v=version)
    if version is None:
        assert (await house.send("vault.req.agent.get", broker_says("agent"), changed)).status is Status.OK
        return
    assert "malformed" in await denied(house, changed)


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little"), b"short".ljust(32, b"\0")[:31]])
async def test_row_31_low_order_or_short_key(house: House, point: bytes) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    changed = resigned(asking, house.agent.key, key=base64.b64encode(point).decode())
    await denied(house, changed)


@pytest.mark.parametrize(
    "name", ["../x", "a\0b", "Provider.x", "provider.*", "provider.>", "a/b", "", "a" * 97, "provider.x\n"]
)
async def test_row_32_hostile_names_are_denied_and_never_recorded(house: House, name: str) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    changed = resigned(asking, house.agent.key, name=name)
    await denied(house, changed)
    assert "name" not in house.events()[-1]
    assert b"\0" not in house.audit_path.read_bytes()


async def test_row_38_nothing_of_the_desk_shows_a_value(house: House) -> None:
    answer = await house.get(house.agent, NAME, "chat")
    assert "canary" not in repr(answer) + repr(house.desk) + repr(house.desk.signer())


async def test_row_40_the_record_survives_verification_and_shows_tampering(house: House) -> None:
    for _ in range(3):
        await house.get(house.agent, NAME, "chat")
    await house.get(house.telegram, NAME, "chat")
    key = house.store.subkey("audit")
    head = house.audit.head
    assert audit.verify(house.audit_path, key, head) == []
    lines = house.audit_path.read_bytes().splitlines(keepends=True)
    house.audit_path.write_bytes(b"".join(lines[:-1]))
    (finding,) = audit.verify(house.audit_path, key, head)
    assert (finding.kind, finding.seq) == ("cut", 4)
    house.audit_path.write_bytes(b"".join([lines[0], *lines[2:]]))
    (finding,) = audit.verify(house.audit_path, key, head)
    assert (finding.kind, finding.seq) == ("removed", 2)


async def test_row_41_audit_disk_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for party, purpose in ((house.agent, "chat"), (house.telegram, "chat")):
            answer = await house.get(party, NAME, purpose)
            assert (answer.status, answer.value) == (Status.UNAVAILABLE, b"")
    assert house.desk.leases.active(house.clock.now) == []
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK


async def test_row_42_a_flood_is_bounded_and_hurts_only_its_author(house: House) -> None:
    started = time.perf_counter()
    statuses = []
    for _ in range(1500):
        reply = await house.desk.answer("vault.req.channel-telegram.get", broker_says("channel-telegram"), b"\0\5flood")
        statuses.append(reply[1])
    assert statuses.count(Status.BUSY) > 1250
    assert len(house.events()) <= 70, "a flood does not fill the disk"
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK
    assert (await house.get(house.telegram, "channel.telegram.token", "connect")).status is Status.BUSY
    house.clock.now += 10
    assert (await house.get(house.telegram, "channel.telegram.token", "connect")).status is Status.OK
    print(f"{1500 / (time.perf_counter() - started):.0f} refusals/s")


async def test_row_42_valid_requests_are_limited_by_their_grant(house: House) -> None:
    statuses = [(await house.get(house.agent, NAME, "chat")).status for _ in range(15)]
    assert statuses == [Status.OK] * 10 + [Status.BUSY] * 5
    house.clock.now += 2
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK


async def test_row_43_full_replay_cache_refuses(house: House) -> None:
    house.desk.replay = ReplayCache(house.clock.now, capacity=2)
    asking = house.asking(house.agent, NAME, "chat")
    assert (await house.send("vault.req.agent.get", broker_says("agent"), asking)).status is Status.OK
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK
    assert (await house.get(house.agent, NAME, "chat")).status is Status.BUSY
    assert await denied(house, asking) == "replayed"
    house.clock.now += 61
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK


async def test_row_44_replay_right_after_a_restart(house: House) -> None:
    asking = house.asking(house.agent, NAME, "chat")
    assert (await house.send("vault.req.agent.get", broker_says("agent"), asking)).status is Status.OK
    house.clock.now += 5
    house.desk = house.new_desk()
    assert (await house.send("vault.req.agent.get", broker_says("agent"), asking)).status is Status.CLOCK
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK


async def test_row_49_policy_comes_before_existence(house: House) -> None:
    asked: list[str] = []
    real = house.desk.backend

    class Watching:
        async def get(self, name: str, version: int | None = None) -> tuple[int, bytearray]:
            asked.append(name)
            return await real.get(name, version)

    house.desk.backend = Watching()  # type: ignore[assignment]
    await house.get(house.telegram, NAME, "chat")
    assert asked == [], "a forbidden name is not even looked up"
    await house.get(house.agent, NAME, "chat")
    assert asked == [NAME]


async def test_a_certificate_is_sent_once(house: House) -> None:
    asking = house.asking(house.agent, NAME, "chat", send_certificate=False)
    assert (await house.send("vault.req.agent.get", broker_says("agent"), asking)).status is Status.UNKNOWN_CERTIFICATE
    assert (await house.get(house.agent, NAME, "chat")).status is Status.OK
    asking = house.asking(house.agent, NAME, "chat", send_certificate=False)
    assert (await house.send("vault.req.agent.get", broker_says("agent"), asking)).status is Status.OK
    stolen = resigned(
        house.asking(house.agent, NAME, "chat"), house.agent.key, chain=base64.b64encode(house.telegram.der).decode()
    )
    assert "fingerprint" in await denied(house, stolen)


async def test_fingerprints_go_to_watchers_only(house: House) -> None:
    from opencrust.credentials.fingerprints import FingerprintSet

    answer = await house.get(house.agent, None, "watch", op="fingerprints")  # type: ignore[arg-type]
    watch = FingerprintSet.decode(answer.value)
    (hit,) = watch.find(f"the key is {PROVIDER_KEY.decode()}")
    assert hit.secret == handout.fingerprint_id(NAME)
    assert watch.find(TELEGRAM_TOKEN.hex())
    refused = await house.get(house.telegram, None, "watch", op="fingerprints")  # type: ignore[arg-type]
    assert refused.status is Status.DENIED


async def test_names_go_to_observers_only_and_bring_no_value(house: House) -> None:
    gateway = Party(house.authority, "gateway")
    answer = await house.get(gateway, None, "show", op="names")  # type: ignore[arg-type]
    assert answer.status is Status.OK
    assert [one["name"] for one in json.loads(answer.value)] == ["channel.telegram.token", NAME]
    for value in (PROVIDER_KEY, TELEGRAM_TOKEN):
        assert value not in answer.value
    for party in (house.agent, house.telegram):
        refused = await house.get(party, None, "show", op="names")  # type: ignore[arg-type]
        assert (refused.status, refused.value) == (Status.DENIED, b"")
    assert (await house.get(gateway, NAME, "show")).status is Status.DENIED

"""Attacks on the hand-out that need a real broker, and the leak test (rows 16–25, 33–36, 39, 45, 48, 50)."""

import asyncio
import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness import BusServer
from opencrust.bus import Bus, Denied, Disconnected, Message, subjects
from opencrust.bus.errors import BusError
from opencrust.credentials import CredentialDenied, Credentials, wire
from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.wire import Notice, Status
from opencrust.identity import Identity
from opencrust.identity.ca import Authority
from opencrust_vault import document, files, opening
from opencrust_vault.document import Body
from opencrust_vault.errors import Corrupt
from simulators import leaks
from simulators.otlp import OtlpReceiver
from simulators.vault_desk import Party
from simulators.vault_process import VaultProcess

KEY = "provider.openai.api_key"
TOKEN = "channel.telegram.token"


def canary() -> bytes:
    return b"sk-canary-" + os.urandom(16).hex().encode()


@pytest.fixture
def vault(bus_server: BusServer) -> Iterator[VaultProcess]:
    running = VaultProcess(bus_server)
    running.start()
    running.set(KEY, canary())
    running.set(TOKEN, canary())
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


@pytest.fixture
async def agent(bus_server: BusServer, vault: VaultProcess) -> AsyncIterator[Credentials]:
    client = Credentials(await bus_server.connect("agent"), bus_server.identity("agent"))
    await client.start()
    yield client
    await client.close()


def signed_by(identity: Identity, name: str, purpose: str, **more: str) -> wire.Asking:
    der = identity.certificate.public_bytes(Encoding.DER)
    service = more.get("service", identity.service)
    return wire.ask(service, identity.private_key, der, op="get", name=name, purpose=purpose, send_certificate=True)


async def _speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    """What a client without a certificate would do; with TLS 1.3 the refusal comes with the first read."""
    await writer.start_tls(context)
    writer.write(b'CONNECT {"verbose":true}\r\nPING\r\n')
    if not await reader.readline():
        raise EOFError


def reason(vault: VaultProcess) -> str:
    return str(vault.admin("audit", event="denied")["records"][-1]["reason"])


async def test_row_16_expired_foreign_or_absent_certificates_do_not_connect(
    bus_server: BusServer, tmp_path: Path, vault: VaultProcess
) -> None:
    good = bus_server.home / "identity" / "agent"
    foreign, unlisted = Authority.create().issue("agent"), None
    for name, leaf in (("foreign", foreign), ("absent", unlisted)):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "ca.pem").write_bytes((good / "ca.pem").read_bytes())
        if leaf is None:
            context = ssl.create_default_context(cafile=str(good / "ca.pem"))
            context.check_hostname = False
            reader, writer = await asyncio.open_connection("127.0.0.1", bus_server.port)
            await reader.readline()
            with pytest.raises((OSError, EOFError)):
                await _speak(reader, writer, context)
            writer.close()
            continue
        (directory / "cert.pem").write_bytes(leaf.certificate_pem)
        (directory / "key.pem").write_bytes(leaf.key_pem)
        with pytest.raises(Disconnected):
            await Bus.connect(bus_server.url, Identity(directory), timeout=3)


async def test_row_21_subject_of_another_service(bus_server: BusServer, vault: VaultProcess) -> None:
    telegram = await bus_server.connect("channel-telegram")
    asking = signed_by(bus_server.identity("channel-telegram"), KEY, "chat")
    with pytest.raises(Denied):
        await telegram.request(subjects.vault_req("agent", "get"), asking.data)


async def test_row_22_a_stolen_key_pair_on_the_thiefs_own_subject(bus_server: BusServer, vault: VaultProcess) -> None:
    telegram = await bus_server.connect("channel-telegram")
    asking = signed_by(bus_server.identity("agent"), KEY, "chat")
    reply = await telegram.request(subjects.vault_req("channel-telegram", "get"), asking.data)
    book = CertificateBook(lambda: bus_server.identity("agent").trusted)
    assert wire.open_reply(reply.data, asking, book).status is Status.DENIED
    assert "disagree" in await asyncio.to_thread(reason, vault)


async def test_row_23_a_compromised_channel_gets_its_own_and_nothing_else(
    bus_server: BusServer, vault: VaultProcess
) -> None:
    telegram = Credentials(await bus_server.connect("channel-telegram"), bus_server.identity("channel-telegram"))
    for name in (KEY, "channel.discord.token", "provider.absent"):
        for purpose in ("chat", "connect"):
            with pytest.raises(CredentialDenied):
                await telegram.get(name, purpose=purpose)
    assert (await telegram.get(TOKEN, purpose="connect")).version == 1


async def test_row_24_redirected_replies_carry_ciphertext_or_go_nowhere(
    bus_server: BusServer, vault: VaultProcess
) -> None:
    agent, telegram = await bus_server.connect("agent"), await bus_server.connect("channel-telegram")
    secret = canary()
    await asyncio.to_thread(vault.set, KEY, secret)
    seen: list[bytes] = []

    async def note(message: Message) -> None:
        seen.append(message.data)

    await agent.subscribe(subjects.wildcard(subjects.CTL_STOP), note)
    asking = signed_by(bus_server.identity("agent"), KEY, "chat")
    for target in ("ctl.stop.telegram.x", subjects.msg_out("telegram", "x"), "vault.rotated.agent"):
        try:
            await agent._client.publish(subjects.vault_req("agent", "get"), asking.data, reply=target)
            await agent._client.flush()
        except BusError:
            continue
    await asyncio.sleep(0.5)
    assert not [data for data in seen if leaks.count(data, secret)]
    assert telegram.connected


@pytest.mark.parametrize(
    "subject", ["_INBOX.agent.>", "_INBOX.>", ">", "vault.req.*.*", "vault.rotated.agent", "_R_.>"]
)
async def test_row_25_nobody_listens_in(bus_server: BusServer, vault: VaultProcess, subject: str) -> None:
    telegram = await bus_server.connect("channel-telegram")

    async def note(message: Message) -> None:
        raise AssertionError

    with pytest.raises(Denied):
        await telegram.subscribe(subject, note)


async def test_row_25_nobody_poses_as_the_vault(bus_server: BusServer, vault: VaultProcess) -> None:
    telegram = await bus_server.connect("channel-telegram")

    async def note(message: Message) -> None:
        raise AssertionError

    for subject in ("vault.req.agent.get", "vault.req.*.*"):
        with pytest.raises(Denied):
            await telegram.subscribe(subject, note, queue="vault")


async def test_row_33_a_spoofed_request_info_is_overwritten(bus_server: BusServer, vault: VaultProcess) -> None:
    telegram = await bus_server.connect("channel-telegram")
    lie = json.dumps({"user": "spiffe://opencrust.local/agent", "kind": "Client", "acc": "AGENT"})
    book = CertificateBook(lambda: bus_server.identity("agent").trusted)
    for name in ("Nats-Request-Info", "nats-request-info"):
        asking = signed_by(bus_server.identity("channel-telegram"), TOKEN, "connect")
        subject = subjects.vault_req("channel-telegram", "get")
        reply = await telegram.request(subject, asking.data, headers={name: lie})
        assert wire.open_reply(reply.data, asking, book).status is Status.OK, "the server's own word counts"


async def test_row_48_a_spoofed_notice_of_rotation(
    bus_server: BusServer, vault: VaultProcess, agent: Credentials
) -> None:
    held = await agent.get(KEY, purpose="chat")
    telegram = await bus_server.connect("channel-telegram")
    with pytest.raises(Denied):
        await telegram.request(subjects.vault_rotated("agent"), b"x")
    # Even somebody who can publish there, such as the broker, cannot sign.
    party = Party(Authority.create(), "vault")
    forged = wire.sign_notice(party.key, party.der, "agent", Notice(names=[KEY], time=10**13))
    await agent._on_notice(Message(subjects.vault_rotated("agent"), forged))
    assert await agent.get(KEY, purpose="chat") is held


async def test_row_45_an_edited_policy(vault: VaultProcess) -> None:
    """The policy is inside the sealed body: editing the file is damage, and a body of another key does not open."""
    await asyncio.to_thread(vault.stop)
    store = opening.open_unattended(vault.paths, {}).store
    raw = bytearray(vault.paths.file.read_bytes())
    wide = {"version": 1, "grants": [{"service": "channel-telegram", "secrets": "provider.*", "purposes": ["chat"]}]}
    evil = document.build(store._header, Body(store._body.secrets, wide), os.urandom(32))
    store.close()
    assert b"provider" not in raw
    files.write_private(vault.paths.file, evil)
    with pytest.raises(Corrupt):
        opening.open_unattended(vault.paths, {})
    with pytest.raises(RuntimeError, match="ended with 78"):
        await asyncio.to_thread(vault.start)


async def test_row_50_a_stolen_authority_is_limited_to_our_names() -> None:
    authority = Authority.create()
    with pytest.raises(ValueError, match="no service name"):
        authority.issue("../x")
    assert not authority.permits("example.org")
    book = CertificateBook(lambda: (Authority.create().certificate,))
    with pytest.raises(Exception, match="not from an authority"):
        book.learn(Party(authority, "vault").der)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="reads other processes' memory")
async def test_row_35_the_vaults_memory_is_closed_to_its_own_user(tmp_path: Path) -> None:
    """As an ordinary user: one process that hardened itself, one that did not, and a reader of the same user."""
    code = (
        "import ctypes, os, sys, time\n"
        "from opencrust_vault import hygiene\n"
        "os.setgid(65534); os.setuid(65534); ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        "if sys.argv[1] == 'harden': hygiene.harden_process()\n"
        "print('READY', flush=True); time.sleep(60)"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    readable = {}
    for how in ("harden", "plain"):
        victim = subprocess.Popen([sys.executable, "-c", code, how], env=environment, stdout=subprocess.PIPE)
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"READY\n"
        reader = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import os\nos.setgid(65534); os.setuid(65534)\nopen('/proc/{victim.pid}/mem', 'rb')",
            ],
            stderr=subprocess.DEVNULL,
            check=False,
        )
        readable[how] = reader.returncode == 0
        victim.kill()
        victim.wait()
        victim.stdout.close()
    assert readable == {"harden": False, "plain": True}


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="reads other processes' memory")
async def test_row_36_the_root_key_is_not_in_memory_that_root_can_read(vault: VaultProcess) -> None:
    await asyncio.to_thread(vault.stop)
    store = opening.open_unattended(vault.paths, {}).store
    keys = [bytes(store._root), *(bytes(key) for key in store._keks.values())]
    kind = store.key_memory
    store.close()
    if kind != "memfd_secret":
        pytest.skip("this kernel grants no memfd_secret")
    await asyncio.to_thread(vault.start)
    assert vault.process is not None
    data = b""
    with open(f"/proc/{vault.process.pid}/maps") as maps, open(f"/proc/{vault.process.pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            try:
                data += os.pread(memory.fileno(), end - start, start) if "r" in line.split()[1] else b""
            except (OSError, OverflowError):
                continue
    assert b"opencrust_vault" in data, "the scan reads this process"
    assert [hashlib.sha256(key).hexdigest()[:8] for key in keys if key in data] == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="reads other processes' memory")
@pytest.mark.timeout(180)
async def test_rows_34_and_39_two_hundred_hand_outs_leave_no_copy(tmp_path: Path) -> None:
    """A broker that traces everything, 200 hand-outs, and an error on every path; then look everywhere."""
    server = BusServer(tmp_path / "home")
    server.home.mkdir(mode=0o700)
    server.start()
    configuration = server.home / "bus" / "nats.conf"
    configuration.write_text(configuration.read_text() + "\ndebug: true\ntrace: true\nlogtime: true\n")
    server.restart()
    vault = VaultProcess(server)
    secret, token, control = canary(), canary(), canary()
    traces = OtlpReceiver()
    asker = None
    try:
        await server.provision()
        await traces.__aenter__()
        await asyncio.to_thread(lambda: vault.start(OPENCRUST_OTLP_ENDPOINT=traces.url))
        await asyncio.to_thread(vault.set, KEY, secret)
        await asyncio.to_thread(vault.set, TOKEN, token)
        await asyncio.to_thread(
            lambda: vault.admin(
                "grant", service="agent", secrets="provider.*", purposes=["chat"], per_minute=60000, burst=1000
            )
        )
        asker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKER, server.url, str(server.home / "identity" / "agent"), KEY,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert asker.stdout is not None
        assert (await asker.stdout.readline()).strip() == hashlib.sha256(secret).hexdigest().encode()
        telegram = await server.connect("channel-telegram")
        thief = Credentials(telegram, server.identity("channel-telegram"))
        for name in (KEY, "provider.absent", "channel.discord.token"):
            with pytest.raises(CredentialDenied):
                await thief.get(name, purpose="chat")
        for garbage in (b"", b"\0\2{}", os.urandom(500), bytes(60_000)):
            await telegram.request(subjects.vault_req("channel-telegram", "get"), garbage)
        with pytest.raises(Exception, match="no such secret"):
            await asyncio.to_thread(vault.admin, "get-info", name="absent")
        # The control: the same places must show what was published in clear, or the scan is blind.
        await telegram.publish("ctl.stop.telegram.x", control)
        await asyncio.sleep(1.5)

        assert server.process is not None
        assert vault.process is not None
        log = server.log.read_bytes()
        assert leaks.count(log, control) > 0, "the broker's trace shows what passes in clear"
        assert leaks.in_memory(server.process.pid, control) > 0
        assert leaks.in_memory(asker.pid, secret) > 0, "the holder of the lease has it"

        for value in (secret, token):
            assert leaks.in_memory(server.process.pid, value) == 0, "nats-server's memory"
            assert leaks.in_files([server.home], value) == [], "store, logs, audit, vault file"
            assert leaks.in_proc(value) == [], "command lines and environments"
        assert leaks.in_memory(asker.pid, token) == 0, "a service that does not hold the lease"

        # Crash it: neither a core nor a last word may hold anything. Stopping flushes the traces of the rest.
        vault.process.send_signal(signal.SIGSEGV)
        await asyncio.to_thread(vault.process.wait, 10)
        await asyncio.to_thread(lambda: vault.start(OPENCRUST_OTLP_ENDPOINT=traces.url))
        await asyncio.to_thread(vault.set, KEY, secret)
        await asyncio.to_thread(vault.stop)
        for value in (secret, token):
            assert leaks.in_files([server.home], value) == []
            assert not [path for path in Path().glob("core*") if leaks.count(path.read_bytes(), value)]
            assert not [body for body in traces.raw if leaks.count(body, value)]
        assert traces.spans, "something was traced at all"
    finally:
        if asker is not None:
            asker.kill()
            await asker.wait()
        if vault.process is not None and vault.process.poll() is None:
            vault.stop()
        await traces.__aexit__(None, None, None)
        await server.close()
        server.stop()


@pytest.mark.timeout(60)
async def test_row_42_a_flood_of_one_service_leaves_room_for_the_others(
    bus_server: BusServer, vault: VaultProcess, agent: Credentials
) -> None:
    async def slowest(count: int) -> float:
        times = []
        for _ in range(count):
            agent.drop(KEY)
            started = time.perf_counter()
            await agent.get(KEY, purpose="chat")
            times.append(time.perf_counter() - started)
            await asyncio.sleep(0.02)
        return sorted(times)[int(count * 0.9)]

    await asyncio.to_thread(
        lambda: vault.admin(
            "grant", service="agent", secrets="provider.*", purposes=["chat"], per_minute=60000, burst=1000
        )
    )
    calm = await slowest(60)
    telegram = await bus_server.connect("channel-telegram")
    subject, stop = subjects.vault_req("channel-telegram", "get"), asyncio.Event()

    async def flood() -> None:
        while not stop.is_set():
            for _ in range(20):
                await telegram.publish(subject, b"\0\5flood")
            await asyncio.sleep(0.005)

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0.5)
    busy = await slowest(60)
    stop.set()
    await flooding
    print(f"p90 {calm * 1000:.2f} ms calm, {busy * 1000:.2f} ms under a flood")
    assert busy < max(10 * calm, 0.1), "generous, since this process does the flooding too"


ASKER = """
import asyncio, hashlib, sys
from pathlib import Path
from opencrust.bus import Bus
from opencrust.credentials import Credentials
from opencrust.identity import Identity

async def main():
    identity = Identity(Path(sys.argv[2]))
    bus = await Bus.connect(sys.argv[1], identity)
    credentials = Credentials(bus, identity)
    for _ in range(200):
        credentials.drop(sys.argv[3])
        secret = await credentials.get(sys.argv[3], purpose="chat")
    print(hashlib.sha256(secret.reveal()).hexdigest(), flush=True)
    await asyncio.sleep(120)

asyncio.run(main())
"""

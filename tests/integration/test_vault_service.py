"""The vault as it runs: a real bus, its own process, real clients, the admin socket."""

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from harness import BusServer
from opencrust.bus import StreamReader, subjects
from opencrust.credentials import CredentialDenied, Credentials, VaultUnavailable
from opencrust.credentials.fingerprints import FingerprintSet
from opencrust_vault import admin_socket
from opencrust_vault.errors import NotFound, VaultError
from simulators.vault_process import VaultProcess

KEY = "provider.openai.api_key"
TOKEN = "channel.telegram.token"


@pytest.fixture
def vault(bus_server: BusServer) -> Iterator[VaultProcess]:
    running = VaultProcess(bus_server)
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


@pytest.fixture
async def agent(bus_server: BusServer, vault: VaultProcess) -> AsyncIterator[Credentials]:
    client = Credentials(await bus_server.connect("agent"), bus_server.identity("agent"))
    await client.start()
    yield client
    await client.close()


async def test_first_start_needs_no_question_and_a_key_gets_through(vault: VaultProcess, agent: Credentials) -> None:
    value = os.urandom(20).hex().encode()
    assert await asyncio.to_thread(vault.set, KEY, value) == 1
    secret = await agent.get(KEY, purpose="chat")
    assert (secret.reveal(), secret.version) == (value, 1)
    for path in (vault.paths.file, vault.paths.key_file, vault.paths.admin_key, vault.paths.socket, vault.paths.audit):
        assert path.stat().st_mode & 0o777 == 0o600
    assert value not in vault.log.read_bytes() + vault.paths.file.read_bytes() + vault.paths.audit.read_bytes()
    assert base64.b64decode(vault.paths.key_file.read_bytes()).hex() not in vault.log.read_text()


async def test_the_cache_answers_without_the_bus(vault: VaultProcess, agent: Credentials) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    first = await agent.get(KEY, purpose="chat")
    await asyncio.to_thread(vault.stop)
    assert await agent.get(KEY, purpose="chat") is first


async def test_many_askers_one_request(vault: VaultProcess, agent: Credentials) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    secrets = await asyncio.gather(*(agent.get(KEY, purpose="chat") for _ in range(50)))
    assert len(set(secrets)) == 1
    leases = (await asyncio.to_thread(vault.admin, "leases"))["leases"]
    assert [(lease["service"], lease["name"]) for lease in leases] == [("agent", KEY)]


async def test_a_rotation_reaches_its_holder_within_five_seconds(vault: VaultProcess, agent: Credentials) -> None:
    await asyncio.to_thread(vault.set, KEY, b"old")
    assert (await agent.get(KEY, purpose="chat")).reveal() == b"old"
    told: asyncio.Queue[str] = asyncio.Queue()
    agent.on_change(told.put)
    started = time.monotonic()
    await asyncio.to_thread(vault.set, KEY, b"new")
    async with asyncio.timeout(5):
        assert await told.get() == KEY
    assert (await agent.get(KEY, purpose="chat")).reveal() == b"new"
    assert time.monotonic() - started < 5


async def test_a_notice_that_was_missed_is_made_up_for_after_a_reconnect(
    vault: VaultProcess, agent: Credentials, bus_server: BusServer
) -> None:
    await asyncio.to_thread(vault.set, KEY, b"old")
    assert (await agent.get(KEY, purpose="chat")).reveal() == b"old"
    told: asyncio.Queue[str] = asyncio.Queue()
    agent.on_change(told.put)
    await asyncio.to_thread(bus_server.stop, signal.SIGKILL)
    await asyncio.to_thread(vault.set, KEY, b"new")
    assert (await agent.get(KEY, purpose="chat")).reveal() == b"old", "nobody could tell"
    await asyncio.to_thread(bus_server.start)
    async with asyncio.timeout(20):
        while (await agent.get(KEY, purpose="chat")).reveal() != b"new":
            assert await told.get() == KEY


async def test_past_its_not_after_a_value_is_not_used_any_more(vault: VaultProcess, bus_server: BusServer) -> None:
    clock = [0.0]
    client = Credentials(await bus_server.connect("agent"), bus_server.identity("agent"), monotonic=lambda: clock[0])
    await asyncio.to_thread(vault.set, KEY, b"value")
    held = await client.get(KEY, purpose="chat")
    await asyncio.to_thread(vault.stop)
    clock[0] = 4 * 300 - 5
    assert await client.get(KEY, purpose="chat") is held, "the vault is away, the lease still runs"
    clock[0] = 4 * 300 + 1
    with pytest.raises(VaultUnavailable):
        await client.get(KEY, purpose="chat")
    await client.close()
    with pytest.raises(ValueError, match="wiped"):
        held.reveal()


async def _has(agent: Credentials) -> bool:
    try:
        await agent.get(KEY, purpose="chat")
    except CredentialDenied:
        return False
    return True


async def test_a_revoked_lease_or_grant_empties_the_cache(vault: VaultProcess, agent: Credentials) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    first = await agent.get(KEY, purpose="chat")
    told: asyncio.Queue[str] = asyncio.Queue()
    agent.on_change(told.put)
    (lease,) = (await asyncio.to_thread(vault.admin, "leases"))["leases"]
    await asyncio.to_thread(vault.admin, "revoke-lease", lease=lease["lease"])
    async with asyncio.timeout(5):
        while await agent.get(KEY, purpose="chat") is first:
            await told.get()  # the first word may still be of the setting
    revoked = await asyncio.to_thread(vault.admin, "revoke-grant", service="agent", secrets="provider.*")
    assert revoked["dropped_leases"] == 1
    async with asyncio.timeout(5):
        while await _has(agent):
            await told.get()
    await asyncio.to_thread(vault.admin, "grant", service="agent", secrets="provider.*", purposes=["chat", "embed"])
    assert (await agent.get(KEY, purpose="embed")).reveal() == b"value"


async def test_denials_name_nothing_and_are_recorded(
    vault: VaultProcess, agent: Credentials, bus_server: BusServer
) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    await asyncio.to_thread(vault.set, TOKEN, b"token")
    telegram = Credentials(await bus_server.connect("channel-telegram"), bus_server.identity("channel-telegram"))
    assert (await telegram.get(TOKEN, purpose="connect")).reveal() == b"token"
    for client, name, purpose in ((telegram, KEY, "chat"), (agent, TOKEN, "connect"), (agent, "provider.x", "chat")):
        with pytest.raises(CredentialDenied) as caught:
            await client.get(name, purpose=purpose)
        assert "value" not in str(caught.value)
    records = (await asyncio.to_thread(vault.admin, "audit", event="denied"))["records"]
    assert [(record["service"], record["name"]) for record in records] == [
        ("channel-telegram", KEY),
        ("agent", TOKEN),
        ("agent", "provider.x"),
    ]
    assert (await asyncio.to_thread(vault.admin, "audit-verify"))["findings"] == []


async def test_watchers_learn_of_new_secrets(vault: VaultProcess, agent: Credentials) -> None:
    sets: asyncio.Queue[FingerprintSet] = asyncio.Queue()
    await agent.watch(sets.put_nowait)
    assert (await sets.get()).fingerprints == ()
    value = "sk-" + os.urandom(20).hex()
    await asyncio.to_thread(vault.set, KEY, value.encode())
    async with asyncio.timeout(5):
        fresh = await sets.get()
    assert fresh.find(f"key: {value}")


async def test_it_comes_back_by_itself_after_kill_minus_nine(vault: VaultProcess, agent: Credentials) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    held = await agent.get(KEY, purpose="chat")
    await asyncio.to_thread(vault.stop, signal.SIGKILL)
    assert await agent.get(KEY, purpose="chat") is held, "what is cached serves on"
    with pytest.raises(VaultUnavailable):
        await agent.get("provider.other.api_key", purpose="chat")
    seconds = await asyncio.to_thread(vault.start)
    agent.drop(KEY)
    assert (await agent.get(KEY, purpose="chat")).reveal() == b"value"
    assert seconds < 8, "generous: the machine is shared; tests/bench measures"


async def test_the_process_dumps_no_core(vault: VaultProcess) -> None:
    assert vault.process is not None
    limits = Path(f"/proc/{vault.process.pid}/limits").read_text()
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]


@pytest.mark.parametrize("variable", ["OPENCRUST_VAULT_KEY", "OPENCRUST_VAULT_PASSPHRASE"])
async def test_an_unlock_key_in_the_environment_is_refused(bus_server: BusServer, variable: str) -> None:
    vault = VaultProcess(bus_server)
    with pytest.raises(RuntimeError, match="ended with 78"):
        await asyncio.to_thread(lambda: vault.start(**{variable: "swordfish"}))
    text = vault.log.read_text()
    assert variable in text
    assert "swordfish" not in text
    assert not vault.paths.file.exists()


async def test_a_damaged_file_is_refused_with_a_reason_and_left_alone(vault: VaultProcess) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    await asyncio.to_thread(vault.stop)
    raw = bytearray(vault.paths.file.read_bytes())
    raw[-1] ^= 1
    vault.paths.file.write_bytes(raw)
    with pytest.raises(RuntimeError, match="ended with 78"):
        await asyncio.to_thread(vault.start)
    assert "MAC does not fit" in vault.log.read_text()
    assert vault.paths.file.read_bytes() == raw


async def test_row_06_file_and_anchor_rolled_back_together_are_seen_by_the_witness(
    vault: VaultProcess, bus_server: BusServer
) -> None:
    await asyncio.to_thread(vault.set, KEY, b"one")
    saved = {path: path.read_bytes() for path in (vault.paths.file, vault.paths.anchor)}
    await asyncio.to_thread(vault.set, KEY, b"two")
    assert await asyncio.to_thread(vault.stop) == 0
    for path, content in saved.items():
        path.write_bytes(content)
    with pytest.raises(RuntimeError, match="ended with 78"):
        await asyncio.to_thread(vault.start)
    assert "the bus has seen" in vault.log.read_text()


async def test_the_head_of_the_chain_is_on_the_bus(vault: VaultProcess, bus_server: BusServer) -> None:
    for number in range(3):
        await asyncio.to_thread(vault.set, KEY, b"value %d" % number)
    await asyncio.to_thread(vault.stop)
    bus = await bus_server.connect("vault")
    stored = await StreamReader(bus, "AUDIT").last(subjects.audit("vault"))
    assert stored is not None
    head = json.loads(json.loads(stored.data)["head"])
    assert head["seq"] == 4
    assert head["mac"] == json.loads(vault.paths.audit.read_bytes().splitlines()[-1])["mac"]


async def test_locked_until_somebody_comes(bus_server: BusServer) -> None:
    from opencrust_vault import opening
    from opencrust_vault.slots import Passphrase

    vault = VaultProcess(bus_server)
    phrase = "orbit walnut tepid crane lunar fable"
    opening.create_vault(vault.paths, {"passphrase": Passphrase(phrase)}).close()
    starting = asyncio.create_task(asyncio.to_thread(vault.start))
    try:
        async with asyncio.timeout(10):
            while not vault.paths.socket.exists():
                await asyncio.sleep(0.05)
        assert await asyncio.to_thread(vault.admin, "status") == {"locked": True}
        with pytest.raises(VaultError, match="unlock"):
            await asyncio.to_thread(vault.admin, "list")
        with pytest.raises(VaultError):
            await asyncio.to_thread(vault.admin, "unlock", kind="passphrase", secret="wrong")
        await asyncio.to_thread(vault.admin, "unlock", kind="passphrase", secret=phrase)
        await starting
        assert (await asyncio.to_thread(vault.admin, "status"))["slots"] == {"passphrase": "passphrase"}
    finally:
        await asyncio.to_thread(vault.stop)
        await asyncio.gather(starting, return_exceptions=True)


async def test_the_socket_refuses_who_has_no_key(vault: VaultProcess) -> None:
    with pytest.raises(VaultError, match="cannot be reached"):
        await asyncio.to_thread(admin_socket.call, vault.paths.socket, os.urandom(32), "list", {})
    assert "without the admin key" in vault.log.read_text()
    with pytest.raises(NotFound):
        await asyncio.to_thread(vault.admin, "get-info", name="absent")
    assert "locked" in await asyncio.to_thread(vault.admin, "status")


async def test_the_gateway_may_show_names_and_nothing_more(bus_server: BusServer, vault: VaultProcess) -> None:
    await asyncio.to_thread(vault.set, KEY, b"value")
    gateway = Credentials(await bus_server.connect("gateway"), bus_server.identity("gateway"))
    (known,) = await gateway.names()
    assert (known["name"], known["version"], known["readers"]) == (KEY, 1, ["agent"])
    with pytest.raises(CredentialDenied):
        await gateway.get(KEY, purpose="show")
    agent = Credentials(await bus_server.connect("agent"), bus_server.identity("agent"))
    with pytest.raises(CredentialDenied):
        await agent.names()

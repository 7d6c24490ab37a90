"""The restore drill: a backup of one vault comes up on a blank machine, and on the same one after an accident."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import BusServer
from opencrust.credentials import Credentials
from opencrust_vault import backup, opening
from opencrust_vault.errors import BadValue, Corrupt, Locked, VaultError, WrongKey
from opencrust_vault.opening import OpenVault
from opencrust_vault.paths import Paths
from opencrust_vault.slots import RecoveryKey
from simulators.vault_process import VaultProcess

TOKEN = "channel.telegram.token"
KEY = "provider.openai.api_key"


@pytest.fixture
def vault(bus_server: BusServer) -> Iterator[VaultProcess]:
    running = VaultProcess(bus_server)
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def restored(paths: Paths, source: Path, recovery: RecoveryKey, *, replace: bool = False) -> None:
    backup.restore(paths, source, recovery, replace=replace).close()


async def test_a_blank_machine_takes_over(bus_server: BusServer, vault: VaultProcess, tmp_path: Path) -> None:
    recovery = RecoveryKey.generate()
    await asyncio.to_thread(vault.set, TOKEN, b"the token")
    await asyncio.to_thread(vault.set, KEY, b"the key")
    await asyncio.to_thread(
        lambda: vault.admin("add-slot", slot="recovery", kind="recovery", secret=recovery.display())
    )
    source = tmp_path / "backup.tar"
    backup.write(vault.paths, source)
    records = vault.admin("status")["audit_records"]
    await asyncio.to_thread(vault.stop)
    await bus_server.close()
    bus_server.stop()

    blank = BusServer(tmp_path / "blank")
    blank.home.mkdir(mode=0o700)
    blank.start()
    other = VaultProcess(blank)
    try:
        await blank.provision()
        restored(other.paths, source, recovery)
        await asyncio.to_thread(other.start)
        telegram = Credentials(await blank.connect("channel-telegram"), blank.identity("channel-telegram"))
        agent = Credentials(await blank.connect("agent"), blank.identity("agent"))
        assert (await telegram.get(TOKEN, purpose="connect")).reveal() == b"the token"
        assert (await agent.get(KEY, purpose="chat")).reveal() == b"the key"
        verified = other.admin("audit-verify")
        assert verified["findings"] == []
        assert verified["records"] > records
        events = [record["event"] for record in other.admin("audit", limit=100)["records"]]
        assert "restored" in events
    finally:
        await asyncio.to_thread(other.stop)
        await blank.close()
        blank.stop()


async def test_the_same_machine_takes_an_older_backup_only_when_told(vault: VaultProcess, tmp_path: Path) -> None:
    recovery = RecoveryKey.generate()
    await asyncio.to_thread(vault.set, KEY, b"old")
    await asyncio.to_thread(
        lambda: vault.admin("add-slot", slot="recovery", kind="recovery", secret=recovery.display())
    )
    source = tmp_path / "backup.tar"
    backup.write(vault.paths, source)
    await asyncio.to_thread(vault.set, KEY, b"new")
    with pytest.raises(Locked):
        restored(vault.paths, source, recovery, replace=True)
    await asyncio.to_thread(vault.stop)
    with pytest.raises(BadValue, match="accept-rollback"):
        restored(vault.paths, source, recovery)
    with pytest.raises(WrongKey):
        restored(vault.paths, source, RecoveryKey.generate(), replace=True)
    before = vault.paths.file.read_bytes()
    restored(vault.paths, source, recovery, replace=True)
    assert before in [path.read_bytes() for path in vault.paths.directory.glob("vault.db.replaced-*")]
    await asyncio.to_thread(vault.start)
    assert vault.admin("get-info", name=KEY)["version"] == 1
    assert vault.admin("audit-verify")["findings"] == []
    await asyncio.to_thread(vault.stop)
    vault.paths.file.write_bytes(before)
    with pytest.raises(RuntimeError, match="ended with 78"):
        await asyncio.to_thread(vault.start)


def made(tmp_path: Path) -> tuple[OpenVault, RecoveryKey, Path]:
    recovery = RecoveryKey.generate()
    vault = opening.create_vault(Paths.of_home(tmp_path / "home", {}), {"recovery": recovery})
    vault.store.put("a", b"value")
    source = tmp_path / "backup.tar"
    backup.write(vault.paths, source)
    return vault, recovery, source


def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    vault, recovery, source = made(tmp_path)
    vault.close()
    raw = source.read_bytes()
    blank = Paths.of_home(tmp_path / "blank", {})
    for position in range(0, len(raw), 97):
        changed = bytearray(raw)
        changed[position] ^= 4
        source.write_bytes(changed)
        try:
            restored(blank, source, recovery)
        except (VaultError, ValueError):
            assert not blank.file.exists()
            continue
        again = opening.open_vault(blank, recovery)  # the flip was in padding, or in the audit log
        assert again.store.get("a") == (1, b"value")
        again.close()
        for path in [*blank.directory.iterdir(), *blank.state.iterdir()]:
            path.unlink()
    source.write_bytes(b"no tar at all")
    with pytest.raises(Corrupt):
        backup.read(source)

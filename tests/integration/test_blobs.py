"""Attachments and plugins on the real bus: stored once, read whole, and never taken for what they are not."""

import hashlib
from functools import partial

import pytest

from harness import BusServer
from opencrust.bus import Denied, subjects
from opencrust.bus.blobs import COUNT, PART, BlobError, Blobs

LIMIT = 8 * PART


def telegram(bus: object) -> Blobs:
    return Blobs(bus, "MEDIA", partial(subjects.media, "telegram"))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART - 1])
async def test_what_a_channel_stores_the_agent_reads(bus_server: BusServer, size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    digest = await telegram(await bus_server.connect("channel-telegram")).put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert await telegram(await bus_server.connect("agent")).get(digest, limit=LIMIT) == data


async def test_a_channel_reads_nothing_of_another(bus_server: BusServer) -> None:
    digest = await telegram(await bus_server.connect("channel-telegram")).put(b"private")
    with pytest.raises(Denied):
        await telegram(await bus_server.connect("channel-discord")).get(digest, limit=LIMIT)


async def test_a_limit_is_kept_before_the_bytes_are_fetched(bus_server: BusServer) -> None:
    bus = await bus_server.connect("channel-telegram")
    digest = await telegram(bus).put(bytes(3 * PART))
    with pytest.raises(BlobError, match="more than"):
        await telegram(bus).get(digest, limit=PART)


async def test_changed_and_missing_bytes_are_named(bus_server: BusServer) -> None:
    bus = await bus_server.connect("channel-telegram")
    digest = await telegram(bus).put(b"the original")
    await bus.publish_stored(subjects.media("telegram", digest, 0), b"a changed one", headers={COUNT: "1"})
    with pytest.raises(BlobError, match="damaged"):
        await telegram(bus).get(digest, limit=LIMIT)
    with pytest.raises(BlobError, match="not there"):
        await telegram(bus).get("0" * 64, limit=LIMIT)


async def test_stored_twice_is_kept_once_and_removed_is_gone_until_it_is_stored_again(bus_server: BusServer) -> None:
    """Also within the server's window for duplicates, which would drop what has the id of a part that was removed."""
    cli = Blobs(await bus_server.connect("cli"), "PLUGINS", subjects.plugin)
    agent = Blobs(await bus_server.connect("agent"), "PLUGINS", subjects.plugin)
    data, other = bytes(2 * PART + 1), b"of another plugin"
    digest, kept = await cli.put(data), await cli.put(other)
    assert await cli.put(data) == digest
    assert await agent.stored() == {digest: 2, kept: 0}, "one part's number each"
    before = await agent.stored_at(digest)
    assert before is not None
    await agent.remove(digest)
    await agent.remove(digest)
    assert await agent.stored_at(digest) is None
    assert await agent.stored() == {kept: 0}
    with pytest.raises(BlobError, match="not there"):
        await agent.get(digest, limit=LIMIT)
    assert await cli.put(data) == digest
    assert await agent.get(digest, limit=LIMIT) == data


@pytest.mark.parametrize("service", ["cli", "gateway", "vault"])
async def test_nobody_but_the_agent_removes_a_plugins_bytes(bus_server: BusServer, service: str) -> None:
    digest = await Blobs(await bus_server.connect("cli"), "PLUGINS", subjects.plugin).put(b"component")
    with pytest.raises(Denied):
        await Blobs(await bus_server.connect(service), "PLUGINS", subjects.plugin).remove(digest)
    agent = Blobs(await bus_server.connect("agent"), "PLUGINS", subjects.plugin)
    assert await agent.get(digest, limit=LIMIT) == b"component"

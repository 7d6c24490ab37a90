"""The promises of this package, kept against the real nats-server."""

import asyncio
import datetime as dt
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from nats.aio.client import Client

from opencrust.identity import Identity
from opencrust.identity.ca import Authority, Leaf
from opencrust.identity.context import strict_client_context
from opencrust.identity.files import write_private
from opencrust.identity.issuance import Issuer


def raw_context(tmp_path: Path, home: Path, leaf: Leaf | None) -> ssl.SSLContext:
    """A client that trusts the bus and shows `leaf`, whatever that is."""
    context = strict_client_context()
    context.load_verify_locations(home / "identity" / "agent" / "ca.pem")
    if leaf:
        path = tmp_path / "client.pem"
        path.write_bytes(leaf.certificate_pem + leaf.key_pem)
        context.load_cert_chain(path)
    return context


def current(home: Path) -> Authority:
    return Authority.load((home / "ca" / "current.pem").read_bytes())


async def until(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def refused(server, context: ssl.SSLContext, because: str) -> None:
    """`server` does not let `context` in, and logs that reason."""
    with pytest.raises((OSError, TimeoutError, nats.errors.Error)):
        await server.connect(context)
    await until(lambda: because in server.log.read_text())


async def works(client: Client) -> bool:
    subscription = await client.subscribe("test.echo")
    await client.flush()
    await client.publish("test.echo", b"hello")
    message = await subscription.next_msg(timeout=2)
    await subscription.unsubscribe()
    return bool(message.data == b"hello")


async def test_the_certificate_alone_is_the_login(server, identity: Identity) -> None:
    client = await server.connect(identity.client_context())
    assert await works(client)
    assert client._transport._io_writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    await client.close()


async def test_tls_1_2_is_refused(server, home: Path, tmp_path: Path) -> None:
    context = raw_context(tmp_path, home, current(home).issue("agent"))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    await refused(server, context, because="unsupported versions")


async def test_no_certificate_is_refused(server, home: Path, tmp_path: Path) -> None:
    await refused(server, raw_context(tmp_path, home, None), because="didn't provide a certificate")


async def test_a_certificate_of_a_foreign_authority_is_refused(server, home: Path, tmp_path: Path) -> None:
    context = raw_context(tmp_path, home, Authority.create().issue("agent"))
    await refused(server, context, because="unknown authority")


async def test_an_expired_certificate_is_refused(server, home: Path, tmp_path: Path) -> None:
    context = raw_context(tmp_path, home, current(home).issue("agent", lifetime=dt.timedelta(seconds=-10)))
    await refused(server, context, because="expired")


async def test_a_service_the_bus_does_not_know_is_refused(server, home: Path, tmp_path: Path) -> None:
    context = raw_context(tmp_path, home, current(home).issue("stranger"))
    await refused(server, context, because="authentication error")


async def test_the_bus_certificate_is_no_login(server, home: Path, tmp_path: Path) -> None:
    await refused(server, raw_context(tmp_path, home, current(home).issue_bus()), because="incompatible key usage")


async def test_go_enforces_the_authoritys_constraints(server, home: Path, tmp_path: Path) -> None:
    leaf = current(home)._sign(
        "agent",
        [x509.UniformResourceIdentifier("spiffe://bank.example/agent")],
        ExtendedKeyUsageOID.CLIENT_AUTH,
        dt.timedelta(hours=1),
    )
    await refused(server, raw_context(tmp_path, home, leaf), because="is not permitted by any constraint")


async def test_an_impostor_of_the_bus_is_refused_by_the_client(server, home: Path, tmp_path: Path) -> None:
    Issuer(tmp_path / "other").ensure(["agent"])
    context = Identity(tmp_path / "other" / "identity" / "agent").client_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        await server.connect(context)


async def test_a_client_keeps_its_context_and_reconnects_with_the_renewed_certificate(
    server, start_server: Callable[[], Awaitable], home: Path
) -> None:
    directory = home / "identity" / "agent"
    leaf = current(home).issue("agent", lifetime=dt.timedelta(seconds=2))
    write_private(directory / "key.pem", leaf.key_pem)
    write_private(directory / "cert.pem", leaf.certificate_pem)
    identity = Identity(directory)
    client = await server.connect(
        identity.client_context(), allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=0.05
    )
    await asyncio.sleep(2.2)
    assert await works(client), "a live connection outlives its certificate"

    server.process.kill()
    await server.process.wait()
    again = await start_server()
    await until(lambda: "expired" in again.log.read_text())
    assert not client.is_connected, "a reconnect with the expired certificate is refused"

    Issuer(home).ensure(["agent"])
    await until(lambda: client.is_connected)
    assert await works(client)
    await client.close()


async def reconnected(client: Client) -> bool:
    """Break the client's connection and wait until it made a new one by itself."""
    before = client.stats["reconnects"]
    client._transport._io_writer.transport.abort()
    await until(lambda: client.stats["reconnects"] > before and client.is_connected)
    return await works(client)


async def test_the_authority_is_rotated_under_live_clients_without_a_restart(
    server, home: Path, issuer: Issuer, identity: Identity
) -> None:
    services = ["agent", "vault"]
    old_client = raw_context(home, home, current(home).issue("agent"))  # shows the old authority's certificate
    client = await server.connect(
        identity.client_context(), allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=0.02
    )
    for step in (issuer.begin_rotation, issuer.switch_authority, issuer.finish_rotation):
        step()
        # Between the files' change and the server's reload, and after it: a reconnect works at any moment.
        issuer.ensure(services)
        if step != issuer.finish_rotation:
            assert await reconnected(client)
        await server.reload()
        assert await reconnected(client)

    assert identity.trusted == (current(home).certificate,)
    old_client.load_verify_locations(home / "identity" / "agent" / "ca.pem")
    await refused(server, old_client, because="unknown authority")
    await client.close()


async def test_after_a_rotation_the_running_client_no_longer_trusts_the_old_authority(
    server, home: Path, issuer: Issuer, identity: Identity
) -> None:
    context = identity.client_context()
    for step in (issuer.begin_rotation, issuer.switch_authority, issuer.finish_rotation):
        step()
        issuer.ensure(["agent"])
    # The server was never told to reload: it still shows the certificate of the old authority.
    with pytest.raises(ssl.SSLCertVerificationError):
        await server.connect(context)

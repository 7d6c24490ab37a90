import ssl

import pytest

from opencrust.identity.context import LiveContext, strict_client_context


def settings(context: ssl.SSLContext) -> tuple[object, ...]:
    return (context.minimum_version, context.verify_mode, context.check_hostname)


def test_both_contexts_demand_tls_1_3_a_certificate_and_the_right_name() -> None:
    wanted = (ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED, True)
    assert settings(strict_client_context()) == settings(LiveContext(strict_client_context)) == wanted


def test_a_context_of_ours_trusts_nobody_by_default() -> None:
    assert strict_client_context().get_ca_certs() == []
    assert strict_client_context().cert_store_stats()["x509"] == 0


def test_each_handshake_asks_for_the_context_of_that_moment() -> None:
    asked: list[ssl.SSLContext] = []

    def current() -> ssl.SSLContext:
        asked.append(strict_client_context())
        return asked[-1]

    live = LiveContext(current)
    for _ in range(2):
        tls = live.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
        assert tls.context is asked[-1]
    assert len(asked) == 2


def test_a_handshake_without_a_host_name_is_refused() -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        LiveContext(strict_client_context).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())

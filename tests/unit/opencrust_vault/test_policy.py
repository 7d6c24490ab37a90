import pytest

from opencrust_vault import policy
from opencrust_vault.errors import BadValue, Corrupt
from opencrust_vault.policy import DEFAULT, Grant, Policy


@pytest.mark.parametrize(
    ("service", "name", "purpose", "granted"),
    [
        ("agent", "provider.openai.api_key", "chat", True),
        ("agent", "provider.openai.api_key", "embed", False),
        ("agent", "provider", "chat", False),
        ("agent", "provider.", "chat", False),
        ("agent", "providers.openai", "chat", False),
        ("agent", "channel.telegram.token", "connect", False),
        ("channel-telegram", "channel.telegram.token", "connect", True),
        ("channel-telegram", "channel.discord.token", "connect", False),
        ("channel-telegram", "provider.openai.api_key", "chat", False),
        ("channel-", "channel..token", "connect", False),
        ("channel", "channel.telegram.token", "connect", False),
        ("gateway", "provider.openai.api_key", "chat", False),
        ("vault", "provider.openai.api_key", "chat", False),
    ],
)
def test_the_default_policy(service: str, name: str, purpose: str, granted: bool) -> None:
    assert (policy.decide(DEFAULT, service, name, purpose).grant is not None) is granted


def test_an_empty_policy_denies() -> None:
    assert policy.decide(Policy(), "agent", "a", "chat").grant is None


def test_readers_inverts_the_patterns() -> None:
    assert policy.readers(DEFAULT, "provider.openai.api_key") == {"agent"}
    assert policy.readers(DEFAULT, "channel.telegram.token") == {"channel-telegram"}
    assert policy.readers(DEFAULT, "channel.telegram") == set()
    assert policy.readers(DEFAULT, "other") == set()
    for name in ("channel.discord.bot.token", "provider.x"):
        for service in policy.readers(DEFAULT, name):
            assert any(grant.covers(service, name) for grant in DEFAULT.grants)


def test_watchers() -> None:
    assert DEFAULT.watches("agent")
    assert not DEFAULT.watches("channel-telegram")
    assert Policy(watchers=("channel-*",)).watches("channel-telegram")
    assert not Policy(watchers=("channel-*",)).watches("channel-")


def test_grants_are_added_replaced_and_removed() -> None:
    first = Grant(service="agent", secrets="mail.password", purposes=("send",))
    changed = DEFAULT.with_grant(first).with_grant(first.model_copy(update={"ttl": 60}))
    assert [grant.ttl for grant in changed.grants if grant.secrets == "mail.password"] == [60]
    assert changed.without_grant("agent", "mail.password") == DEFAULT
    with pytest.raises(BadValue):
        DEFAULT.without_grant("agent", "mail.password")


def test_it_survives_storage() -> None:
    changed = DEFAULT.with_revoked_certificate("ab" * 32)
    assert Policy.read(changed.dump()) == changed


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"service": "agent", "secrets": "a", "purposes": []},
        {"service": "*", "secrets": "a", "purposes": ["chat"]},
        {"service": "a*b", "secrets": "a", "purposes": ["chat"]},
        {"service": "agent", "secrets": "*", "purposes": ["chat"]},
        {"service": "agent", "secrets": "a*", "purposes": ["chat"]},
        {"service": "agent", "secrets": "a.*.b", "purposes": ["chat"]},
        {"service": "agent", "secrets": "../a", "purposes": ["chat"]},
        {"service": "agent", "secrets": "a", "purposes": ["*"]},
        {"service": "agent", "secrets": "a", "purposes": ["chat"], "ttl": 0},
        {"service": "agent", "secrets": "a", "purposes": ["chat"], "color": "red"},
    ],
)
def test_bad_grants_are_explained(content: dict[str, object]) -> None:
    with pytest.raises(BadValue, match="cannot be made"):
        policy.make_grant(content)


@pytest.mark.parametrize("content", [{"version": 2}, {"grants": 5}, {"unknown": 1}, {"version": 1, "watchers": ["*"]}])
def test_a_malformed_policy_is_corrupt(content: dict[str, object]) -> None:
    with pytest.raises(Corrupt):
        Policy.read(content)

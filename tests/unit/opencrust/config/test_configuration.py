"""The configuration file: strict, private, without secrets, and clear about what is wrong."""

import json
from pathlib import Path

import pytest

from opencrust.config import PLATFORMS, ChannelSettings, ConfigError, Configuration, Provider, ProviderKind

PROVIDER = Provider(name="main", kind=ProviderKind.OPENAI, model="m", credential="vault:provider.main.api_key")


def write(home: Path, text: str) -> None:
    Configuration.path(home).parent.mkdir(parents=True, exist_ok=True)
    Configuration.path(home).write_text(text)


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    assert Configuration.load(tmp_path) == Configuration()


def test_it_is_saved_privately_and_read_back(tmp_path: Path) -> None:
    configuration = Configuration().with_provider(PROVIDER)
    configuration.save(tmp_path)
    assert Configuration.load(tmp_path) == configuration
    assert Configuration.path(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_new_provider_is_asked_first_and_replaces_its_namesake() -> None:
    second = PROVIDER.model_copy(update={"name": "second"})
    changed = PROVIDER.model_copy(update={"model": "other"})
    configuration = Configuration().with_provider(PROVIDER).with_provider(second).with_provider(changed)
    assert [(p.name, p.model) for p in configuration.providers] == [("main", "other"), ("second", "m")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1"),
        ("[]", "must be a JSON object"),
        ("[" * 100_000, "too many brackets"),
        ('{"provider": []}', "provider: Extra inputs"),
        ('{"providers": [{"name": "x", "kind": "openai", "model": "m", "api_key": "canary"}]}', "api_key"),
        ('{"providers": [{"name": "x", "kind": "openai", "model": "m", "credential": "canary"}]}', "credential"),
        ('{"providers": [{"name": "x", "kind": "ai", "model": "m"}]}', "kind"),
        ('{"providers": [{"name": "x", "kind": "openai", "model": "m", "base_url": "http://u:canary@h"}]}', "base_url"),
        ('{"stream_bytes": {"MSG_IN": 5}}', "stream_bytes.MSG_IN"),
    ],
)
def test_faults_are_named_and_never_quoted(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Configuration.load(tmp_path)
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)


def test_two_providers_of_one_name_are_refused(tmp_path: Path) -> None:
    one = PROVIDER.model_dump(mode="json")
    write(tmp_path, json.dumps({"providers": [one, one]}))
    with pytest.raises(ConfigError, match="same name"):
        Configuration.load(tmp_path)


def test_services_are_told_what_concerns_them() -> None:
    told = Configuration().with_provider(PROVIDER).for_services()
    assert set(told) == {"agent.providers", "agent.settings", *(f"channel-{name}.settings" for name in PLATFORMS)}
    assert json.loads(told["agent.providers"])["providers"][0]["credential"] == "vault:provider.main.api_key"


def test_a_channel_hears_its_settings_and_that_it_was_removed(tmp_path: Path) -> None:
    channel = ChannelSettings(name="telegram", credentials={"token": "vault:channel.telegram.token"})
    configured = Configuration().with_channel(channel).with_channel(channel)
    configured.save(tmp_path)
    assert Configuration.load(tmp_path).channels == (channel,)
    assert ChannelSettings.model_validate_json(configured.for_services()["channel-telegram.settings"]) == channel
    assert configured.without_channel("telegram").for_services()["channel-telegram.settings"] == b"null"


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        ({"name": "telegram", "credentials": {"token": "123456:canary"}}, "secret in plain text"),
        ({"name": "telegram", "options": {"bot_token": "canary-canary"}}, "secret in plain text"),
        ({"name": "telegram", "api_base": "https://user:canary@host"}, "api_base"),
        ({"name": "icq"}, "name"),
        ({"name": "telegram", "mode": "carrier pigeon"}, "mode"),
    ],
)
def test_a_channel_with_a_fault_is_refused_by_the_place(tmp_path: Path, channel: dict[str, object], says: str) -> None:
    write(tmp_path, json.dumps({"channels": [channel]}))
    with pytest.raises(ConfigError) as caught:
        Configuration.load(tmp_path)
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "place"),
    [
        (
            '{"providers": [\n {"name": "x", "kind": "openai", "model": "m",\n  "api_key": "hunter2hunter2"}]}',
            3,
            "api_key",
        ),
        ('{\n\n"token": "hunter2hunter2"}', 3, "token"),
    ],
)
def test_a_plain_secret_is_refused_with_its_line_and_not_repeated(
    tmp_path: Path, text: str, line: int, place: str
) -> None:
    path = Configuration.path(tmp_path)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"line {line}: .*{place} is a secret in plain text") as refusal:
        Configuration.load(tmp_path)
    assert "opencrust vault import" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_persona_stands_in_a_file_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, '{"agent": {"slots": 3}}')
    (tmp_path / "config" / "persona.md").write_text("You are Marvin.\n")
    configuration = Configuration.load(tmp_path)
    assert configuration.agent.whole_instructions.endswith("\n\nYou are Marvin.")
    configuration.with_provider(PROVIDER).save(tmp_path)
    assert "Marvin" not in Configuration.path(tmp_path).read_text()
    assert Configuration.load(tmp_path).agent.persona == "You are Marvin.\n"
    assert b"Marvin" in configuration.for_services()["agent.settings"]


def test_a_persona_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "persona.md").write_text("You are Marvin.")
    assert Configuration.load(tmp_path).agent.persona == "You are Marvin."


@pytest.mark.parametrize(
    ("persona", "says"),
    [
        (b"x" * 20_001, "20001 characters"),
        (b"\xff", "cannot be read"),
        (b"my key is sk-proj-" + b"a1B2c3D4" * 6, "secret in plain text"),
    ],
)
def test_a_persona_that_cannot_be_taken_is_told_by_name(tmp_path: Path, persona: bytes, says: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "persona.md").write_bytes(persona)
    with pytest.raises(ConfigError, match=f"persona.md.*{says}"):
        Configuration.load(tmp_path)


def test_a_persona_in_the_configuration_file_is_sent_to_its_own(tmp_path: Path) -> None:
    write(tmp_path, '{"agent": {"persona": "You are Marvin."}}')
    with pytest.raises(ConfigError, match=r"agent.persona: write it into persona\.md"):
        Configuration.load(tmp_path)


def test_a_policy_is_read_strictly(tmp_path: Path) -> None:
    write(tmp_path, '{"agent": {"policy": {"rules": [{"then": "ask", "tools": ["mail_*"], "roles": ["user"]}]}}}')
    assert Configuration.load(tmp_path).agent.policy.rules[0].tools == ("mail_*",)
    write(tmp_path, '{"agent": {"policy": {"rules": [{"then": "ask", "tool": "mail"}]}}}')
    with pytest.raises(ConfigError, match="tool: Extra inputs"):
        Configuration.load(tmp_path)

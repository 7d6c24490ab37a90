"""`opencrust channels`: what goes into the vault, what into the file, and what is said when it cannot be."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from opencrust.bus.survey import Report
from opencrust.config import ChannelMode, Configuration
from opencrust_cli import channel_who, channels, vault
from opencrust_cli.channel_platforms import PLATFORMS, fits
from opencrust_cli.errors import EXIT_USAGE
from opencrust_cli.home import Home

TOKEN = "123456789:AAExample-of-no-real-bot_0123456789"


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What went to the vault instead of into it: the vault has its own tests."""
    found: dict[str, bytes] = {}
    monkeypatch.setattr(vault, "store", lambda home, name, value: found.update({name: value}))
    monkeypatch.setattr(channels, "perform", lambda home, op, **arguments: {"granted": True})
    return found


def answers(monkeypatch: pytest.MonkeyPatch, answer: dict[str, object]) -> list[str]:
    """The platform answers so; returns the addresses that were called."""
    called: list[str] = []

    def call(url: str, **more: object) -> channel_who.Answered:
        called.append(url)
        return channel_who.Answered(200, answer, {})

    monkeypatch.setattr(channel_who, "call", call)
    return called


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_the_token_is_checked_and_goes_to_the_vault(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = answers(monkeypatch, {"ok": True, "result": {"id": 1, "username": "crusty_bot"}})
    typed(monkeypatch, f"{TOKEN}\n")
    outcome = opencrust("channels", "add", "telegram", "--option", "edits=true", "--option", "poll_seconds=5")
    assert outcome.code == 0, outcome.err
    assert called == [f"https://api.telegram.org/bot{TOKEN}/getMe"]
    assert stored == {"channel.telegram.token": TOKEN.encode()}
    settings = Configuration.load(home.path).channel("telegram")
    assert settings is not None
    assert settings.credentials == {"token": "vault:channel.telegram.token"}
    assert settings.options == {"edits": True, "poll_seconds": 5}
    assert "https://t.me/crusty_bot" in outcome.out
    assert TOKEN not in Configuration.path(home.path).read_text() + outcome.out + outcome.err
    assert json.loads(opencrust("channels", "list", "--json").out)["channels"][0]["name"] == "telegram"
    assert opencrust("channels", "remove", "telegram").code == 0
    assert Configuration.load(home.path).channels == ()
    assert opencrust("channels", "remove", "telegram").code == 1


@pytest.mark.parametrize("text", ["", "\n", "hello\n", "123:short\n", f"{TOKEN} {TOKEN}\n"])
def test_what_is_no_token_changes_nothing_and_is_not_repeated(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    typed(monkeypatch, text)
    outcome = opencrust("channels", "add", "telegram")
    assert outcome.code == EXIT_USAGE
    assert "@BotFather" in outcome.err
    assert not stored
    assert not text.strip() or text.strip() not in outcome.err
    assert not Configuration.path(home.path).exists()


def test_a_token_that_telegram_does_not_know_changes_nothing(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, {"ok": False, "error_code": 401})
    typed(monkeypatch, f"{TOKEN}\n")
    outcome = opencrust("channels", "add", "telegram")
    assert outcome.code == 1
    assert "does not know this token" in outcome.err
    assert not stored
    assert TOKEN not in outcome.err


def test_a_platform_that_cannot_be_reached_is_told_without_its_address(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, f"{TOKEN}\n")
    outcome = opencrust("channels", "add", "telegram", "--api-base", "http://127.0.0.1:9")
    assert outcome.code == 1
    assert "is this machine online" in outcome.err
    assert TOKEN not in outcome.err


def test_a_credential_that_is_in_the_vault_is_only_named_and_a_webhook_is_taken_apart(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes]
) -> None:
    outcome = opencrust(
        "channels", "add", "telegram", "--credential", "token=my.bot", "--webhook", "https://home.example.org",
        "--listen", "127.0.0.1:4000",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert not stored
    settings = Configuration.load(home.path).channel("telegram")
    assert settings is not None
    assert settings.webhook is not None
    assert (settings.mode, settings.webhook.port) == (ChannelMode.WEBHOOK, 4000)
    assert settings.credentials == {"token": "vault:my.bot"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--listen", "nowhere", "--webhook", "https://x.example"),
        ("--webhook", "ftp://x.example"),
        ("--api-base", "https://user:pass@x.example"),
        ("--option", "novalue"),
        ("--credential", "token"),
        ("--credential", "token=NOT A NAME"),
    ],
)
def test_wrong_usage_is_said(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:  # fmt: skip
    typed(monkeypatch, f"{TOKEN}\n")
    outcome = opencrust("channels", "add", "telegram", "--no-check", *arguments)
    assert outcome.code == EXIT_USAGE, outcome.err
    assert not stored


def test_every_platforms_hint_is_for_what_its_shape_refuses() -> None:
    for platform in PLATFORMS.values():
        assert platform.asks
        for asked in platform.asks:
            assert not fits(asked, "")
            assert not fits(asked, "two words")


def test_a_line_says_what_matters() -> None:
    facts: dict[str, object] = {
        "role": "leader",
        "link": "deaf",
        "link_reason": "silent for 54 s",
        "unknown": 2,
    }
    report = Report("channel-telegram", "channel-telegram-1", "0", True, 1.0, {**facts, "bot": "crusty_bot"})
    line = channels.line(report)
    assert "leader" in line
    assert "deaf (silent for 54 s)" in line
    assert "2 of unknown end" in line

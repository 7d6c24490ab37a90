"""What people configure, and the address that comes of it."""

import pytest

from opencrust_agent.models import PRESETS, Credential, endpoint


class Key:
    def reveal_text(self) -> str:
        return "k"


async def credential() -> Credential:
    return Key()


@pytest.mark.parametrize(
    ("kind", "base", "url"),
    [
        ("openai", None, "https://api.openai.com/v1/chat/completions"),
        ("anthropic", None, "https://api.anthropic.com/v1/messages"),
        ("ollama", None, "http://127.0.0.1:11434/v1/chat/completions"),
        ("openrouter", None, "https://openrouter.ai/api/v1/chat/completions"),
        ("gemini", None, "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"),
        ("groq", None, "https://api.groq.com/openai/v1/chat/completions"),
        ("mistral", None, "https://api.mistral.ai/v1/chat/completions"),
        ("deepseek", None, "https://api.deepseek.com/v1/chat/completions"),
        ("ollama", "http://box:11434", "http://box:11434/v1/chat/completions"),
        ("ollama", "http://box:11434/", "http://box:11434/v1/chat/completions"),
        ("openai", "https://x.example/v1/", "https://x.example/v1/chat/completions"),
        ("openai", "https://x.example/api/v3", "https://x.example/api/v3/chat/completions"),
        ("openai", "https://x.example/proxy", "https://x.example/proxy/v1/chat/completions"),
        ("openai", "https://x.example/v1/chat/completions", "https://x.example/v1/chat/completions"),
        ("openai", "https://x.example/odd/chat/completions", "https://x.example/odd/chat/completions"),
        ("anthropic", "https://x.example/anthropic", "https://x.example/anthropic/v1/messages"),
        ("anthropic", "https://x.example", "https://x.example/v1/messages"),
        ("azure", "https://n.openai.azure.com", "https://n.openai.azure.com/openai/v1/chat/completions"),
        (
            "azure",
            "https://n.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://n.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        ("compatible", "http://[::1]:8080", "http://[::1]:8080/v1/chat/completions"),
    ],
)
def test_addresses(kind: str, base: str | None, url: str) -> None:
    assert endpoint("p", kind=kind, model="m", base_url=base, credential=credential).url == url


def test_how_the_key_travels() -> None:
    def headers(kind: str, base: str | None = None) -> dict[str, str]:
        return endpoint("p", kind=kind, model="m", base_url=base, credential=credential).headers("k")

    assert headers("openai")["Authorization"] == "Bearer k"
    assert headers("anthropic")["x-api-key"] == "k"
    assert headers("anthropic")["anthropic-version"] == "2023-06-01"
    assert headers("azure", "https://n.openai.azure.com")["api-key"] == "k"
    for kind in ("anthropic", "azure"):
        assert "Authorization" not in headers(kind, "https://n.example")
    assert "Authorization" not in endpoint("p", kind="ollama", model="m").headers("")


@pytest.mark.parametrize(
    ("kind", "base", "complaint"),
    [
        ("opnai", None, "unknown; choose one of anthropic, openai"),
        ("azure", None, "needs a base URL"),
        ("compatible", None, "needs a base URL"),
        ("openai", "api.example/v1", "begin with http"),
        ("openai", "ftp://x.example", "begin with http"),
        ("openai", "https://", "begin with http"),
        ("openai", "https://x.example:port", "cannot be read"),
        ("openai", "https://user:hunter2@x.example", "holds a password"),
        ("openai", "http://x.example/v1", "in clear; use https"),
        ("openai", "http://8.8.8.8/v1", "in clear; use https"),
    ],
)
def test_mistakes_are_named(kind: str, base: str | None, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        endpoint("mine", kind=kind, model="m", base_url=base, credential=credential)
    assert "mine" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "192.168.1.5", "[fd00::1]", "ollama", "box.local"])
def test_a_key_may_cross_the_own_network_in_clear(host: str) -> None:
    endpoint("p", kind="compatible", model="m", base_url=f"http://{host}:1", credential=credential)


def test_a_missing_key_or_model() -> None:
    for kind in ("openai", "anthropic"):
        with pytest.raises(ValueError, match="needs a key"):
            endpoint("p", kind=kind, model="m")
    with pytest.raises(ValueError, match="needs a key"):
        endpoint("p", kind="azure", model="m", base_url="https://n.openai.azure.com")
    with pytest.raises(ValueError, match="model name"):
        endpoint("p", kind="ollama", model="")
    endpoint("p", kind="openai", model="m", base_url="http://127.0.0.1:1/v1")  # somebody's own server


def test_somebody_elses_server_is_not_openai() -> None:
    theirs = endpoint("p", kind="openai", model="m", base_url="https://x.example/v1")
    assert theirs.preset is PRESETS["compatible"]
    assert endpoint("p", kind="openai", model="m", credential=credential).preset is PRESETS["openai"]


def test_every_preset_is_complete() -> None:
    for kind, preset in PRESETS.items():
        base = preset.base_url or "http://127.0.0.1:9"
        made = endpoint("p", kind=kind, model="m", base_url=base, credential=credential)
        assert made.url.endswith("/messages" if preset.wire == "anthropic" else "/chat/completions")
        assert preset.base_url.startswith("https://") or not preset.base_url or not preset.key_required

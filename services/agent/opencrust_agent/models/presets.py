"""Providers by name: where they are, which wire format they speak, how they take the key, and their quirks.

Adding a provider is adding an entry to `PRESETS`. `endpoint()` turns what a person configured into an `Endpoint`, or
into a ValueError that says what to correct.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

from opencrust_agent.models import anthropic_messages, openai_chat
from opencrust_agent.models.model import CredentialSource
from opencrust_agent.models.openai_chat import ChatDialect
from opencrust_agent.models.transport import Timeouts

_LOCAL = Timeouts(connect=5.0, first_byte=300.0, idle=120.0, total=900.0)
"""Local servers load the model during the first request and read the prompt slowly on a CPU."""

_VERSION = re.compile(r"v\d+((alpha|beta)\d*)?")


@dataclass(frozen=True, slots=True)
class Preset:
    """`base_url` is "" when only the person can know it. `version_path` is put between a base URL without a version
    and the format's path. `key` says how the key is sent. `vision`: its usual models take pictures. `keep_alive` is
    False for a server that closes connections while they are reused."""

    title: str
    wire: Literal["openai", "anthropic"] = "openai"
    base_url: str = ""
    version_path: str = "/v1"
    key: Literal["bearer", "x-api-key", "api-key"] = "bearer"
    key_required: bool = True
    supports_tools: bool = True
    vision: bool = False
    keep_alive: bool = True
    dialect: ChatDialect = field(default_factory=ChatDialect)
    timeouts: Timeouts = field(default_factory=Timeouts)


_LENIENT = ChatDialect(null_finish=True)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "anthropic": Preset("Anthropic", "anthropic", "https://api.anthropic.com/v1", key="x-api-key", vision=True),
        "openai": Preset(
            "OpenAI",
            base_url="https://api.openai.com/v1",
            vision=True,
            dialect=ChatDialect(max_tokens_field="max_completion_tokens"),
        ),
        "azure": Preset(
            "Azure OpenAI",
            version_path="/openai/v1",
            key="api-key",
            dialect=ChatDialect(max_tokens_field="max_completion_tokens"),
        ),
        "openrouter": Preset("OpenRouter", base_url="https://openrouter.ai/api/v1"),
        "gemini": Preset(
            "Google Gemini", base_url="https://generativelanguage.googleapis.com/v1beta/openai", vision=True
        ),
        "mistral": Preset(
            "Mistral",
            base_url="https://api.mistral.ai/v1",
            dialect=ChatDialect(asks_usage=False, short_call_ids=True, user_after_tool=False),
        ),
        "deepseek": Preset(
            "DeepSeek", base_url="https://api.deepseek.com/v1", dialect=ChatDialect(returns_reasoning=True)
        ),
        "groq": Preset("Groq", base_url="https://api.groq.com/openai/v1"),
        "ollama": Preset(
            "Ollama", base_url="http://127.0.0.1:11434/v1", key_required=False, dialect=_LENIENT, timeouts=_LOCAL
        ),
        "vllm": Preset(
            "vLLM", base_url="http://127.0.0.1:8000/v1", key_required=False, dialect=_LENIENT, timeouts=_LOCAL
        ),
        "lmstudio": Preset(
            "LM Studio", base_url="http://127.0.0.1:1234/v1", key_required=False, dialect=_LENIENT, timeouts=_LOCAL
        ),
        "compatible": Preset("OpenAI-compatible server", key_required=False, dialect=_LENIENT),
        "demo": Preset(
            "tiny offline demo model",
            supports_tools=False,
            keep_alive=False,
            dialect=_LENIENT,
            timeouts=_LOCAL,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One configured model of one provider. `url` is what requests are posted to."""

    name: str
    kind: str
    model: str
    url: str
    preset: Preset
    timeouts: Timeouts
    credential: CredentialSource | None = None
    max_output_tokens: int | None = None
    vision: bool = False

    def headers(self, key: str) -> dict[str, str]:
        """Request headers, the key among them when it is not empty."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self.preset.wire == "anthropic":
            headers |= anthropic_messages.VERSION_HEADER
        if not self.preset.keep_alive:
            headers["Connection"] = "close"
        if key and self.preset.key == "bearer":
            headers["Authorization"] = f"Bearer {key}"
        elif key:
            headers[self.preset.key] = key
        return headers


def endpoint(
    name: str,
    *,
    kind: str,
    model: str,
    base_url: str | None = None,
    credential: CredentialSource | None = None,
    timeouts: Timeouts | None = None,
    max_output_tokens: int | None = None,
    vision: bool | None = None,
) -> Endpoint:
    """Checks a configured provider. `name` is how the person calls it, `model` the provider's model id,
    `vision` whether it takes pictures (None: as is usual there).
    Raises ValueError with a sentence for the person."""
    preset = PRESETS.get(kind)
    if preset is None:
        raise ValueError(f"provider {name!r}: kind {kind!r} is unknown; choose one of {', '.join(PRESETS)}")
    if not model:
        raise ValueError(f"provider {name!r}: a model name is needed")
    base = base_url or preset.base_url
    if not base:
        raise ValueError(f"provider {name!r}: kind {kind!r} needs a base URL")
    host = urlsplit(base).hostname
    at_home = not preset.base_url or host == urlsplit(preset.base_url).hostname
    if credential is None and preset.key_required and at_home:
        raise ValueError(f"provider {name!r}: {preset.title} needs a key")
    if kind == "openai" and not at_home:
        preset = PRESETS["compatible"]  # somebody else's server that speaks OpenAI's format: expect less of it
    return Endpoint(
        name,
        kind,
        model,
        request_url(name, base, preset, sends_key=credential is not None),
        preset,
        timeouts or preset.timeouts,
        credential,
        max_output_tokens,
        preset.vision if vision is None else vision,
    )


def request_url(name: str, base: str, preset: Preset, *, sends_key: bool) -> str:
    """The address to post to, from a base URL in any of the forms that people paste: with or without a version at
    its end (`/v1`, `/v1beta/openai`), with a trailing slash, or whole."""
    try:
        parts = urlsplit(base.strip())
        _ = parts.port  # raises ValueError when it is not a number
    except ValueError:
        raise ValueError(f"provider {name!r}: the base URL cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"provider {name!r}: the base URL must begin with http:// or https:// and name a host")
    if parts.username or parts.password:
        raise ValueError(f"provider {name!r}: the base URL holds a password; store it with `opencrust vault` instead")
    if parts.scheme == "http" and sends_key and not _is_nearby(parts.hostname):
        raise ValueError(f"provider {name!r}: the key would cross the network in clear; use https://")
    path = parts.path.rstrip("/")
    suffix = anthropic_messages.PATH if preset.wire == "anthropic" else openai_chat.PATH
    if not path.endswith(suffix):
        segments = path.split("/")
        versioned = any(_VERSION.fullmatch(segment) for segment in segments) or "deployments" in segments
        path += suffix if versioned else preset.version_path + suffix
    return urlunsplit(SplitResult(parts.scheme, parts.netloc, path, parts.query, ""))


def _is_nearby(host: str) -> bool:
    """This machine, a private address, or a name that only a local network resolves."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".lan", ".internal", ".home.arpa"))
    return address.is_private or address.is_loopback or address.is_link_local

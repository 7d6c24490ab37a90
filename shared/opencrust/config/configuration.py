"""The configuration file's model."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from opencrust.config.budgets import BudgetSettings
from opencrust.config.channels import PLATFORMS, ChannelSettings
from opencrust.config.egress import EgressSettings
from opencrust.config.policy import PolicySettings
from opencrust.config.workspace import WorkspaceSettings
from opencrust.contracts.base import explain
from opencrust.credentials.references import PlainSecret, find_plain_secrets
from opencrust.identity.files import make_private_directory, write_private

_ADVICE = "move it into the vault with `opencrust vault import`, and consider replacing it where it was issued"


PERSONA = "persona.md"
"""Beside the configuration file, where there is one: who the assistant is to be, in plain words."""
MAX_PERSONA = 20_000


class ConfigError(ValueError):
    """The configuration is wrong. The text names the place and the rule, never a value."""


class ProviderKind(StrEnum):
    """How a model provider is spoken to."""

    OPENAI = "openai"
    """OpenAI, or any server that speaks its format, by base URL."""
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"
    DEMO = "demo"
    AZURE = "azure"
    OPENROUTER = "openrouter"
    GEMINI = "gemini"
    MISTRAL = "mistral"
    DEEPSEEK = "deepseek"
    GROQ = "groq"
    VLLM = "vllm"
    LMSTUDIO = "lmstudio"
    COMPATIBLE = "compatible"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Provider(_Strict):
    """One model provider. Tried in the order of the file: the first is asked, the next ones are the fallback."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    kind: ProviderKind
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$", max_length=500)] | None = None
    """Without user, password, query or fragment: a key belongs into the vault."""
    credential: Annotated[str, StringConstraints(pattern=r"^vault:[a-z0-9][a-z0-9_.-]{0,95}$")] | None = None
    max_tokens: Annotated[int, Field(ge=16, le=200_000)] = 2048
    vision: bool | None = None
    """Whether the model takes pictures; None: as is usual at that provider."""


class Providers(_Strict):
    """What the agent is told of providers, under ``agent.providers``."""

    providers: tuple[Provider, ...] = ()


class AgentSettings(_Strict):
    """How the agent behaves."""

    instructions: Annotated[str, StringConstraints(max_length=20_000)] = (
        "You are a helpful personal assistant. Be brief and truthful; say so when you do not know."
    )
    persona: Annotated[str, StringConstraints(max_length=MAX_PERSONA)] = ""
    """Who the assistant is to be: what stands in ``config/persona.md``, where there is that file."""
    slots: Annotated[int, Field(ge=1, le=256)] = 32
    """Conversations that one agent process works on at the same time."""
    policy: PolicySettings = PolicySettings()
    """What tools may do, and who is asked."""
    budgets: BudgetSettings = BudgetSettings()
    """What may be spent in a day."""
    egress: EgressSettings = EgressSettings()
    """Where tools may connect to besides the public internet."""
    workspace: WorkspaceSettings = WorkspaceSettings()
    """How much the agent's files may be."""

    @property
    def whole_instructions(self) -> str:
        """Instructions and persona, as the model is told them."""
        return "\n\n".join(part for part in (self.instructions, self.persona.strip()) if part)


class Configuration(_Strict):
    """The whole file."""

    providers: tuple[Provider, ...] = ()
    channels: tuple[ChannelSettings, ...] = ()
    """Platforms that people write from."""
    agent: AgentSettings = AgentSettings()
    stream_bytes: dict[str, Annotated[int, Field(ge=1024 * 1024)]] = {}
    """Other sizes of streams than the registry's, in bytes, by name."""
    otlp_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")] | None = None
    """Where traces go: base URL of an OTLP/HTTP receiver, such as Jaeger's ``http://127.0.0.1:4318``."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [provider.name for provider in self.providers]
        if len(set(names)) < len(names):
            raise ValueError("two providers have the same name")
        channels = [channel.name for channel in self.channels]
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is configured twice")
        return self

    @classmethod
    def path(cls, home: Path) -> Path:
        """Where the file lies."""
        return home / "config" / "config.json"

    @classmethod
    def load(cls, home: Path) -> "Configuration":
        """Read it; defaults where there is no file.

        Raises:
            ConfigError: unreadable, not JSON, against a rule, or with a secret in it.
        """
        path = cls.path(home)
        persona = _persona(home)
        try:
            text = path.read_text()
        except FileNotFoundError:
            return cls()._with_persona(persona)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None
        try:
            content = json.loads(text)
            if plain := find_plain_secrets(text):
                raise ConfigError(
                    f"{path}, line {plain[0].line}: {_place(plain[0])} is a secret in plain text; {_ADVICE}"
                )
            if isinstance(content, dict) and "persona" in _object(content.get("agent")):
                raise ConfigError(f"{path}: agent.persona: write it into {PERSONA} beside this file")
            return cls.model_validate(content)._with_persona(persona)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}, line {error.lineno}: {error.msg}") from None
        except RecursionError:
            raise ConfigError(f"{path}: too many brackets within each other") from None
        except ValidationError as error:
            raise ConfigError(f"{path}: {explain(error)}") from None

    def save(self, home: Path) -> None:
        """Write it, whole or not at all, readable by its owner alone."""
        make_private_directory(self.path(home).parent)
        plain = self.model_dump(mode="json", exclude_defaults=True, exclude={"agent": {"persona"}})
        text = json.dumps({name: value for name, value in plain.items() if value != {}}, indent=2) + "\n"
        write_private(self.path(home), text.encode())

    def with_provider(self, provider: Provider, *, first: bool = True) -> "Configuration":
        """A copy with ``provider`` in place of one of the same name, asked first (or last)."""
        others = tuple(p for p in self.providers if p.name != provider.name)
        return self.model_copy(update={"providers": (provider, *others) if first else (*others, provider)})

    def channel(self, name: str) -> ChannelSettings | None:
        """The settings of a channel; None where it is not configured."""
        return next((channel for channel in self.channels if channel.name == name), None)

    def with_channel(self, channel: ChannelSettings) -> "Configuration":
        """A copy with ``channel`` in place of one of the same name."""
        return self.model_copy(update={"channels": (*self.without_channel(channel.name).channels, channel)})

    def without_channel(self, name: str) -> "Configuration":
        """A copy without the channel of that name."""
        return self.model_copy(update={"channels": tuple(c for c in self.channels if c.name != name)})

    def _with_persona(self, persona: str) -> "Configuration":
        return self.model_copy(update={"agent": self.agent.model_copy(update={"persona": persona})})

    def for_services(self) -> dict[str, bytes]:
        """What each service is to know: ``<service>.<key>`` → JSON."""
        providers = Providers(providers=self.providers)
        return {
            "agent.providers": providers.model_dump_json().encode(),
            "agent.settings": self.agent.model_dump_json().encode(),
            **{f"channel-{name}.settings": _channel_document(self.channel(name)) for name in PLATFORMS},
        }


def _channel_document(channel: ChannelSettings | None) -> bytes:
    """``null`` for a channel that is not configured: one that was removed must hear of it."""
    return b"null" if channel is None else channel.model_dump_json().encode()


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _persona(home: Path) -> str:
    path = Configuration.path(home).parent / PERSONA
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None
    if len(text) > MAX_PERSONA:
        raise ConfigError(f"{path} has {len(text)} characters; a persona may have {MAX_PERSONA}")
    for number, line in enumerate(text.splitlines(), 1):
        if find_plain_secrets(json.dumps({"persona": line})):
            raise ConfigError(f"{path}, line {number}: there is a secret in plain text; {_ADVICE}")
    return text


def _place(secret: PlainSecret) -> str:
    return ".".join(map(str, secret.path))

"""``plugin.toml``: what a plugin is and wants. It grants nothing: it is what a person is asked about."""

import hashlib
import re
import tomllib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from opencrust.contracts.base import explain
from opencrust.contracts.plugins import RESERVED, PluginName, PluginVersion, Sha256
from opencrust_agent.egress import HostRule, below
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.limits import MAX_COMPONENT, MAX_MANIFEST, Limits

_STRICT = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LOCAL = ("localhost", "local", "internal", "lan", "home", "intranet", "arpa")

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
READING = frozenset({"GET", "HEAD"})
SENDING = frozenset({"send", "spend", "exec"})
"""Effects of which a tool must have one to use other methods: what is posted has left the house."""
PathPrefix = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$", max_length=200)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
EffectName = Literal["read", "write", "send", "spend", "exec"]


class HttpRule(BaseModel):
    """One host that it may ask, over https. ``*.example.com`` is exactly one label more."""

    model_config = _STRICT

    host: Annotated[str, StringConstraints(max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("GET",)
    path_prefix: PathPrefix = "/"
    max_request_kib: Annotated[int, Field(ge=0, le=1024)] = 64
    max_response_kib: Annotated[int, Field(ge=1, le=1024)] = 512

    @model_validator(mode="after")
    def _is_public(self) -> "HttpRule":
        if not _HOST.fullmatch(self.host):
            raise ValueError("host must be a full host name in small letters, or *.name of two parts; no address")
        if self.host.rpartition(".")[2] in _LOCAL:
            raise ValueError("host is a name of the inside network")
        return self

    def rule(self) -> HostRule:
        return HostRule(self.host, self.port, frozenset(self.methods), self.path_prefix)


class CredentialRule(BaseModel):
    """A secret of the vault, ``plugin.<plugin>.<handle>``, that we add to requests. The plugin never has it."""

    model_config = _STRICT

    handle: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["bearer", "basic", "header"]
    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    """For ``header``: which."""
    host: Annotated[str, StringConstraints(max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    path_prefix: PathPrefix = "/"
    methods: tuple[Method, ...] | None = None
    """None: all that the host's rule allows."""

    @model_validator(mode="after")
    def _fits(self) -> "CredentialRule":
        if (self.kind == "header") != (self.header is not None):
            raise ValueError("a credential of kind header names its header, and only that one does")
        if self.header and self.header.lower() in ("host", "content-length", "transfer-encoding", "connection"):
            raise ValueError("that header cannot carry a credential")
        if not _HOST.fullmatch(self.host) or self.host.startswith("*"):
            raise ValueError("a credential belongs to exactly one host name")
        return self


class KvRule(BaseModel):
    """A store of its own."""

    model_config = _STRICT

    max_kib: Annotated[int, Field(ge=1, le=10 * 1024)] = 256


class ToolRule(BaseModel):
    """Narrows one tool. What is not said here follows from the permissions."""

    model_config = _STRICT

    effects: Annotated[tuple[EffectName, ...], Field(min_length=1)] | None = None
    sensitive: tuple[Annotated[str, StringConstraints(max_length=64)], ...] = ()


class Manifest(BaseModel):
    """The whole file."""

    model_config = _STRICT

    schema_version: Literal[1] = Field(alias="schema")
    name: PluginName
    version: PluginVersion
    summary: Annotated[str, StringConstraints(max_length=200)] = ""
    homepage: Annotated[str, StringConstraints(max_length=200, pattern=r"^https://[!-~]+$")] | None = None
    world: Literal["agent:plugin/tool@0.1.0"]
    wasm: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "plugin.wasm"
    sha256: Sha256 | None = None
    """Of the component. Needed in what is signed."""
    size: Annotated[int, Field(ge=1, le=MAX_COMPONENT)] | None = None
    describe_sha256: Sha256 | None = None
    limits: Limits = Limits()
    http: Annotated[tuple[HttpRule, ...], Field(max_length=16)] = ()
    credentials: Annotated[tuple[CredentialRule, ...], Field(max_length=8)] = ()
    kv: KvRule | None = None
    tools: dict[ToolName, ToolRule] = {}

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if (first := name.partition("-")[0]) in RESERVED:
            raise ValueError(f"names that begin with {first!r} are kept for tools of OpenCrust itself")
        return name

    @model_validator(mode="after")
    def _is_consistent(self) -> "Manifest":
        handles = [credential.handle for credential in self.credentials]
        if len(set(handles)) != len(handles):
            raise ValueError("credentials: two have the same handle")
        for credential in self.credentials:
            rules = [rule for rule in self.http if (rule.host, rule.port) == (credential.host, credential.port)]
            if not any(below(credential.path_prefix, rule.path_prefix) for rule in rules):
                raise ValueError(f"credentials.{credential.handle}: no [[http]] rule has its host, port and path")
        return self

    def effects(self, tool: str) -> tuple[str, ...]:
        """What a call of `tool` may do to the world: what the permissions allow, or the less that it asks for itself.

        The host holds every tool to it: without ``write`` it keeps nothing in its store, without ``send`` (or
        ``spend``, ``exec``) its requests can be GET and HEAD only.
        """
        named = self.tools.get(tool)
        if named is not None and named.effects is not None:
            return named.effects
        writes = any(not READING.issuperset(rule.methods) for rule in self.http)
        return ("read", *(("write",) if self.kv is not None else ()), *(("send",) if writes else ()))


def read(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        PluginRefused: with the field and the rule that it breaks.
    """
    if len(text.encode()) > MAX_MANIFEST:
        raise PluginRefused(f"plugin.toml has more than {MAX_MANIFEST // 1024} KiB")
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PluginRefused(f"plugin.toml is not TOML: {str(error)[:100]}") from None
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise PluginRefused(f"plugin.toml: {explain(error)}") from None


def digest(text: str) -> str:
    """SHA-256 of the manifest's bytes, hex."""
    return hashlib.sha256(text.encode()).hexdigest()

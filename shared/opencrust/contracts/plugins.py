"""Plugins: the lock, as it lies in the bucket ``plugins``, and the questions about them on ``ctl.plugins``.

A record is what a person agreed to: which component, which manifest, which description, and which permissions, each by
its SHA-256. Whatever differs from it does not run.
"""

from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.contracts.base import Contract, Versioned

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PluginName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=32)]
PluginVersion = Annotated[str, StringConstraints(pattern=r"^(0|[1-9]\d{0,5})(\.(0|[1-9]\d{0,5})){2}$")]
RESERVED = frozenset({
    "agent", "approval", "approvals", "browser", "calendar", "clock", "code", "exec", "file", "files", "mail", "mcp",
    "memory", "message", "opencrust", "person", "plugin", "plugins", "schedule", "secret", "send", "shell", "skill",
    "skills", "system", "time", "vault", "web",
})  # fmt: skip
"""First words of tools of our own, there or to come. A plugin's tools begin with its name, and rules about tools go by
patterns such as ``web_*``: so no plugin's name begins with one of these words."""
Line = Annotated[str, StringConstraints(max_length=1000)]


class PluginTool(Contract):
    """A tool of a plugin as it described itself when it was installed. The model sees this and nothing newer."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    description: Annotated[str, StringConstraints(max_length=1024)]
    parameters: dict[str, Any]
    effects: list[str] = Field(max_length=5)
    sensitive: list[str] = Field(default=[], max_length=32)


class PluginGrant(Contract):
    """One version of a plugin, and what a person agreed to when it was installed."""

    version: PluginVersion
    wasm: Sha256
    """Of the component; the name of its bytes in the stream PLUGINS."""
    size: int
    manifest: str
    """The text as it was installed."""
    description: Sha256
    """Of what ``describe`` returned."""
    consent: Sha256
    """Of all that stood in the question that was answered with yes."""
    signer: Annotated[str, StringConstraints(max_length=100)] = ""
    """Fingerprint of the key that signed the manifest; empty: nobody did."""
    tools: list[PluginTool] = Field(max_length=16)
    permissions: list[Line] = Field(default=[], max_length=100)
    """The question, a sentence each."""
    by: Annotated[str, StringConstraints(max_length=255)] = ""
    at: AwareDatetime


class PluginRecord(Versioned):
    """One plugin. Written by the agent alone; key: its name."""

    name: PluginName
    enabled: bool = True
    reason: Line = ""
    """Why the agent disabled it by itself; empty where a person did."""
    current: PluginGrant
    previous: list[PluginGrant] = Field(default=[], max_length=3)
    """Versions to go back to, newest first."""


class PluginSignature(Contract):
    """``plugin.toml.sig``: Ed25519 (RFC 8032) over ``opencrust-plugin-v1``, a zero byte and the manifest's bytes."""

    alg: Annotated[str, StringConstraints(pattern=r"^ed25519$")] = "ed25519"
    key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{86}==$")]


class PluginRequest(Versioned):
    """A question on ``ctl.plugins.<service>.<op>``; each operation reads the fields that it needs."""

    name: Annotated[str, StringConstraints(max_length=64)] = ""
    manifest: Annotated[str, StringConstraints(max_length=32 * 1024)] = ""
    signature: PluginSignature | None = None
    wasm: Annotated[str, StringConstraints(max_length=64)] = ""
    consent: Annotated[str, StringConstraints(max_length=64)] = ""
    """For ``install``: of the question that the person saw (:attr:`PluginInspection.consent`)."""
    tool: Annotated[str, StringConstraints(max_length=64)] = ""
    arguments: dict[str, Any] = {}
    accept_new_signer: bool = False
    """For ``install``: also by another key than the installed version, or by none where that one was signed."""
    allow_downgrade: bool = False
    """For ``inspect`` and ``install``: also a lower version than the installed one."""
    by: Annotated[str, StringConstraints(max_length=255)] = ""


class PluginInspection(Contract):
    """What a plugin is and wants: the question to the person."""

    name: PluginName
    version: PluginVersion
    installed: str = ""
    """The version that it would replace."""
    sentences: list[Line] = Field(max_length=100)
    changes: list[Line] = Field(default=[], max_length=100)
    """What is new against the installed version, the loud ones first."""
    new_signer: bool = False
    """Not signed by the key that signed the installed version: ``install`` wants ``accept_new_signer``."""
    consent: Sha256


class PluginsReply(Versioned):
    """The answer to every operation."""

    error: Annotated[str, StringConstraints(max_length=2000)] = ""
    """What was wrong, and what to do; empty where nothing was."""
    plugins: list[PluginRecord] = Field(default=[], max_length=200)
    """``list``: all; others: the one, as it stands now. Manifests and old versions' tools are left out."""
    inspection: PluginInspection | None = None
    text: str = ""
    """``call``: the answer."""
    failed: bool = False
    """``call``: the plugin says that it did not do it."""
    log: list[Line] = Field(default=[], max_length=500)

"""The question to the person: what a plugin may do, in plain sentences, and what changed. Pure."""

import hashlib
import json

from opencrust.contracts.plugins import PluginGrant, PluginTool
from opencrust_agent.plugins.manifest import READING, CredentialRule, HttpRule, Manifest

_EFFECTS = {
    "read": "looks things up",
    "write": "changes things",
    "send": "sends to others",
    "spend": "costs money",
    "exec": "runs commands",
}

_QUOTES = '"“”„«»‟'
_OWN_WORDS = 600


def sentences(manifest: Manifest, tools: list[PluginTool], signer: str, *, known: bool = False) -> list[str]:
    """What is asked for, the weightiest first; the same words for the same permissions.

    Args:
        signer: fingerprint of the key that signed it, or "".
        known: the installed version is signed by the same key.
    """
    said = [_http(rule) for rule in manifest.http]
    said += [_credential(manifest.name, rule) for rule in manifest.credentials]
    if manifest.kv is not None:
        said.append(f"It may keep up to {manifest.kv.max_kib} KiB of its own from one call to the next.")
    if not manifest.http:
        said.append("It cannot connect to anything.")
    if not said[:-1] and manifest.kv is None and not manifest.http:
        said = [
            "It can compute with what a call gives it, and nothing else: no network, no files, no secrets, no store."
        ]
    else:
        said.append("It sees what each call gives it, and none of your files, secrets or other conversations.")
    said += [_tool(tool) for tool in tools]
    limits = manifest.limits
    said.append(
        f"A call may take {limits.timeout_ms / 1000:g} s and {limits.memory_mib} MiB; "
        f"{limits.calls_per_minute} calls a minute."
    )
    said.append(_signed(signer, known))
    return [sentence[:1000] for sentence in said]


def new_signer(old: PluginGrant, signer: str) -> bool:
    """Whether a version comes from other hands than the installed one: its key was trusted on first use."""
    return bool(old.signer) and old.signer != signer


def changes(old: PluginGrant, new_version: str, new: list[str], signer: str) -> list[str]:
    """What is different from the installed version."""
    found = []
    if older(new_version, old.version):
        found.append(
            f"CAREFUL: {new_version} is older than the installed {old.version}. An old version may have holes that are "
            "known."
        )
    if old.signer and not signer:
        found.append(f"CAREFUL: version {old.version} was signed, this one is not. It may be somebody else's.")
    elif old.signer and old.signer != signer:
        found.append(f"CAREFUL: it is signed with another key than version {old.version}. It may be somebody else's.")
    if old.version == new_version:
        found.append(f"It calls itself {new_version}, as the installed one does, but it is another component.")
    signing = (_signed(old.signer, True), _signed(old.signer, False), _signed(signer, True))  # no news
    found += [f"New: {sentence}" for sentence in new if sentence not in (*old.permissions, *signing)]
    found += [f"No longer: {sentence}" for sentence in old.permissions if sentence not in (*new, *signing)]
    return [sentence[:1000] for sentence in found]


def digest(wasm: str, manifest_digest: str, description: str, signer: str) -> str:
    """SHA-256 of what is agreed to. Any change of the component, the manifest, what it says of itself or who signed it
    is another question."""
    parts = ["consent-v1", wasm, manifest_digest, description, signer]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def older(version: str, than: str) -> bool:
    """Whether a version is lower: number by number."""
    return tuple(map(int, version.split("."))) < tuple(map(int, than.split(".")))


def _tool(tool: PluginTool) -> str:
    """What it does in our words, and what it says of itself in quotes that it cannot close."""
    own = "".join("'" if character in _QUOTES else character for character in tool.description)
    said = f"{own[:_OWN_WORDS]}…" if len(own) > _OWN_WORDS else own
    return f"Tool {tool.name}: {' and '.join(_EFFECTS[e] for e in tool.effects)}. In its own words: “{said}”"


def _signed(signer: str, known: bool) -> str:
    if not signer:
        return "It is not signed: nothing says who made it, nor who makes the next version."
    if known:
        return f"Signed by the key {signer}, which signed the installed version too."
    return (
        f"Signed by the key {signer}. Nobody vouches for this key: compare it with what its author publishes. Later "
        "versions must be signed by it."
    )


def _http(rule: HttpRule) -> str:
    where = "any one-label subdomain of " + rule.host[2:] if rule.host.startswith("*.") else rule.host
    port = "" if rule.port == 443 else f", port {rule.port}"
    below = "" if rule.path_prefix == "/" else f", below {rule.path_prefix}"
    if READING.issuperset(rule.methods):
        return f"It may read from {where} (https{port}{below}). What you tell it can reach {where} that way."
    return (
        f"It may read from and send to {where} (https{port}{below}; {', '.join(rule.methods)}). What you tell it can "
        f"reach {where}, and it can change things there."
    )


def _credential(plugin: str, rule: CredentialRule) -> str:
    below = "" if rule.path_prefix == "/" else f", below {rule.path_prefix}"
    port = "" if rule.port == 443 else f", port {rule.port}"
    methods = f" ({', '.join(rule.methods)})" if rule.methods else ""
    return (
        f"OpenCrust adds your secret plugin.{plugin}.{rule.handle} to its requests to "
        f"{rule.host}{port}{below}{methods}. The plugin itself never sees it."
    )

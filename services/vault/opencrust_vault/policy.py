"""Who may lease which secret, for what purpose, how often. Deny by default.

The policy lies inside the sealed part of the vault file, so nobody without a key can edit it, and it changes
only through `opencrust vault grant|revoke`, each change on the record.

A grant's patterns: `service` is a service's name, or `channel-*`; `secrets` is a name, or a prefix followed by `.*`
(one or more further parts), and may contain `{channel}`, which stands for what the `*` of `channel-*` matched. So one
grant says that every channel reads its own secrets and no other's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from opencrust_vault.errors import BadValue, Corrupt

ServicePattern = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}(\*)?$")]
SecretPattern = Annotated[
    str, StringConstraints(max_length=96, pattern=r"^[a-z0-9](?:[a-z0-9_.-]|\{channel\})*(?:\.\*)?$")
]
Purpose = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,31}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Grant(BaseModel):
    """One line of the policy.

    Attributes:
        purposes: what the asker must say it needs the secret for.
        ttl: how long a client may use its copy, in seconds.
        per_minute, burst: a token bucket per service and secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    service: ServicePattern
    secrets: SecretPattern
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=16)]
    ttl: Annotated[int, Field(ge=1, le=86400)] = 300
    per_minute: Annotated[int, Field(ge=1, le=100_000)] = 30
    burst: Annotated[int, Field(ge=1, le=100_000)] = 10

    def covers(self, service: str, name: str) -> bool:
        """Whether this grant is about `service` and the secret `name`, the purpose aside."""
        channel = _matched(self.service, service)
        return channel is not None and _name_matches(self.secrets.replace("{channel}", channel), name)


class Policy(BaseModel):
    """Who may have which secret, and which certificates are not accepted any more.

    Attributes:
        watchers: services that receive the fingerprints of all secrets.
        observers: services that may show a person which secrets there are: names, never values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = 1
    grants: tuple[Grant, ...] = ()
    watchers: tuple[ServicePattern, ...] = ()
    observers: tuple[ServicePattern, ...] = ("gateway",)
    revoked_certificates: tuple[Digest, ...] = ()

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Policy":
        """The policy as stored in the vault file.

        Raises:
            Corrupt: it is not one.
        """
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise Corrupt(f"the policy in the vault is malformed: {_explain(error)}") from None

    def dump(self) -> dict[str, Any]:
        """The JSON to store."""
        return self.model_dump(mode="json")

    def watches(self, service: str) -> bool:
        """Whether `service` may have fingerprints."""
        return any(_matched(pattern, service) is not None for pattern in self.watchers)

    def observes(self, service: str) -> bool:
        """Whether `service` may know the names of all secrets."""
        return any(_matched(pattern, service) is not None for pattern in self.observers)

    def with_grant(self, grant: Grant) -> "Policy":
        """Add a grant, or replace the one for the same service and secrets."""
        others = tuple(old for old in self.grants if (old.service, old.secrets) != (grant.service, grant.secrets))
        return self.model_copy(update={"grants": (*others, grant)})

    def without_grant(self, service: str, secrets: str) -> "Policy":
        """Remove the grant for this service and these secrets.

        Raises:
            BadValue: there is none.
        """
        remaining = tuple(old for old in self.grants if (old.service, old.secrets) != (service, secrets))
        if len(remaining) == len(self.grants):
            raise BadValue("there is no such grant; `opencrust vault grant --list` shows them")
        return self.model_copy(update={"grants": remaining})

    def with_revoked_certificate(self, digest: str) -> "Policy":
        """Accept this certificate (SHA-256 of its DER, hex) no longer."""
        return self.model_copy(update={"revoked_certificates": tuple({*self.revoked_certificates, digest})})


DEFAULT = Policy(
    grants=(
        Grant(service="agent", secrets="provider.*", purposes=("chat",)),
        Grant(service="agent", secrets="plugin.*", purposes=("plugin",)),
        Grant(service="channel-*", secrets="channel.{channel}.*", purposes=("connect",), ttl=900),
    ),
    watchers=("agent", "gateway"),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says to a request; `grant` is None when it says no, and `reason` then tells the audit why."""

    grant: Grant | None
    reason: str


def decide(policy: Policy, service: str, name: str, purpose: str) -> Decision:
    """Whether `service` may lease `name` for `purpose`. Whether the secret exists plays no part."""
    about = [grant for grant in policy.grants if grant.covers(service, name)]
    if not about:
        return Decision(None, "no grant for this service and secret")
    for grant in about:
        if purpose in grant.purposes:
            return Decision(grant, f"granted: {grant.service} may read {grant.secrets} for {purpose}")
    return Decision(None, "the grant is for another purpose")


def readers(policy: Policy, name: str) -> set[str]:
    """The services that may lease `name`, those named by `channel-*` and `{channel}` included."""
    found = set()
    for grant in policy.grants:
        if not grant.service.endswith("*"):
            if grant.covers(grant.service, name):
                found.add(grant.service)
        elif "{channel}" in grant.secrets:
            pattern = re.escape(grant.secrets.removesuffix(".*")).replace(r"\{channel\}", "([a-z0-9-]+)", 1)
            matched = re.match(pattern + (r"\..+\Z" if grant.secrets.endswith(".*") else r"\Z"), name)
            if matched and grant.covers(service := grant.service[:-1] + matched[1], name):
                found.add(service)
    return found


def make_grant(content: Mapping[str, Any]) -> Grant:
    """A grant from what a person asked for.

    Raises:
        BadValue: naming what is wrong with it.
    """
    try:
        return Grant.model_validate(dict(content))
    except ValidationError as error:
        raise BadValue(f"this grant cannot be made: {_explain(error)}") from None


def _matched(pattern: str, service: str) -> str | None:
    if pattern.endswith("*"):
        rest = service.removeprefix(pattern[:-1])
        return rest if rest != service and rest else None
    return "" if pattern == service else None


def _name_matches(pattern: str, name: str) -> bool:
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1]) and len(name) > len(pattern) - 1
    return pattern == name


def _explain(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"

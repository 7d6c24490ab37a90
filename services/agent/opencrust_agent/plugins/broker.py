"""A plugin's request to the outside: every step, in the order that matters.

quota (:mod:`.host`) → URL, method, headers against the grant → leak scan of what goes out → resolve, every address
public → connect to exactly those → add the credential → send, no redirects → cap → strip → leak scan of what came →
JSON for the guest. The middle is :mod:`opencrust_agent.egress`'s. A credential is added after the last thing that a
plugin can influence, and looked for in the answer: a server that echoes it does not hand it over.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencrust.contracts.base import explain
from opencrust.credentials import CredentialError, Secret
from opencrust.credentials.fingerprints import forms
from opencrust_agent.egress import (
    Egress,
    EgressError,
    Fetched,
    Refused,
    Target,
    below,
    check_headers,
    matching,
    parse_url,
)
from opencrust_agent.plugins.limits import KiB
from opencrust_agent.plugins.manifest import READING, CredentialRule, HttpRule, Manifest

PURPOSE = "plugin"
"""What a secret is leased for; the vault's policy names it."""
REQUEST_SECONDS = 10.0
_HIDDEN = b"[secret]"
_STRIPPED = frozenset({"set-cookie", "set-cookie2", "www-authenticate", "proxy-authenticate", "authorization"})
_MAX_HEADERS = 64
_MAX_HEADER = 4096

Lease = Callable[[str], Awaitable[Secret]]
"""Gives a secret by its name in the vault; raises CredentialError."""
Leaks = Callable[[str], Iterable[tuple[int, int]]]
"""Where a text shows a secret of the house (:class:`opencrust.credentials.LeakDetector`)."""


class Request(BaseModel):
    """What a guest asks for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    method: Annotated[str, Field(max_length=10)] = "GET"
    url: Annotated[str, Field(max_length=4096)]
    headers: Annotated[dict[str, str], Field(max_length=32)] = {}
    body: str | None = None
    body_b64: str | None = None
    credential: str | None = None
    timeout_ms: Annotated[int, Field(ge=1, le=30_000)] | None = None


class Broker:
    """Makes requests for plugins. Holds no secret between two of them."""

    def __init__(self, egress: Egress, lease: Lease, leaks: Leaks) -> None:
        self._egress = egress
        self._lease = lease
        self._leaks = leaks

    async def fetch(self, manifest: Manifest, text: str, *, seconds: float, reading: bool) -> tuple[bool, str]:
        """Ask for what `text` says. Returns whether there is an answer, and it, or why not.

        Args:
            seconds: what is left of the call.
            reading: only GET and HEAD, whatever the grant says.
        """
        try:
            request = Request.model_validate_json(text)
            body = _body(request)
        except ValidationError as error:
            return False, f"the request is not one: {explain(error)}"
        except (ValueError, RecursionError):
            return False, "the request is not one: body_b64 is not base64, or it has two bodies"
        try:
            target = parse_url(request.url)
            rule = self._rule(manifest, request, target, reading)
            check_headers(request.headers)
            if body is not None and request.method in READING:
                raise Refused(f"a {request.method} has no body")
            if body is not None and len(body) > rule.max_request_kib * KiB:
                raise Refused(f"the body has more than {rule.max_request_kib} KiB")
            self._scan(request, body)
            credential = _credential(manifest, request, target)
            headers, known = await self._with_credential(manifest, credential, request.headers)
            answer = await self._egress.fetch(
                request.url,
                method=request.method,
                headers=headers,
                body=body,
                limit=rule.max_response_kib * KiB,
                seconds=min(seconds, REQUEST_SECONDS, (request.timeout_ms or 30_000) / 1000),
                hops=0,
            )
        except Refused as error:
            return False, f"refused: {error}"
        except EgressError as error:
            return False, str(error)
        except CredentialError:
            return False, f"refused: the vault does not give the credential {request.credential!r} to plugins"
        if answer.cut:
            return False, f"the answer has more than {rule.max_response_kib} KiB"
        return True, json.dumps(_told(answer, known))

    @staticmethod
    def _rule(manifest: Manifest, request: Request, target: Target, reading: bool) -> HttpRule:
        wanted = matching((rule.rule() for rule in manifest.http), request.method, target)
        if reading and request.method not in READING:
            raise Refused("this tool may only read: GET and HEAD (its effects in plugin.toml have no `send`)")
        return next(rule for rule in manifest.http if rule.rule() == wanted)

    def _scan(self, request: Request, body: bytes | None) -> None:
        """What the plugin sends of itself may hold no secret of the house: those are added by us alone."""
        parts = [request.url, *request.headers.values(), (body or b"").decode("latin-1")]
        if any(True for part in parts for _ in self._leaks(part)):
            raise Refused("it carries a secret of this house")

    async def _with_credential(
        self, manifest: Manifest, rule: CredentialRule | None, headers: Mapping[str, str]
    ) -> tuple[dict[str, str], list[bytes]]:
        """The headers with the credential, and the forms in which it must not come back."""
        if rule is None:
            return dict(headers), []
        secret = await self._lease(f"plugin.{manifest.name}.{rule.handle}")
        value = secret.reveal_text()
        name, sent = "Authorization", f"Bearer {value}"
        if rule.kind == "basic":
            sent = f"Basic {base64.b64encode(value.encode()).decode()}"
        elif rule.kind == "header":
            name, sent = str(rule.header), value
        kept = {key: text for key, text in headers.items() if key.lower() != name.lower()}
        return {**kept, name: sent}, _forms(value)


def _forms(value: str) -> list[bytes]:
    raw = value.encode()
    return sorted({raw, raw[::-1], *forms(raw), *(form.lower() for form in forms(raw))}, key=len, reverse=True)


def _body(request: Request) -> bytes | None:
    if request.body is not None and request.body_b64 is not None:
        raise ValueError
    if request.body_b64 is not None:
        try:
            return base64.b64decode(request.body_b64, validate=True)
        except binascii.Error:
            raise ValueError from None
    return None if request.body is None else request.body.encode()


def _credential(manifest: Manifest, request: Request, target: Target) -> CredentialRule | None:
    """The rule of the credential that the request names.

    Raises:
        Refused: there is none, or it is for another host, path or method.
    """
    if request.credential is None:
        return None
    rule = next((rule for rule in manifest.credentials if rule.handle == request.credential), None)
    if rule is None:
        raise Refused("it names a credential that was not granted")
    if (rule.host, rule.port) != (target.host, target.port) or not below(target.path, rule.path_prefix):
        raise Refused("the credential is for another host, port or path")
    if rule.methods is not None and request.method not in rule.methods:
        raise Refused("the credential is for other methods")
    return rule


def _told(answer: Fetched, known: list[bytes]) -> dict[str, Any]:
    """The answer as the guest gets it."""
    headers: dict[str, str] = {}
    for name, value in list(answer.headers.items())[:_MAX_HEADERS]:
        if name.lower() not in _STRIPPED:
            hidden = _hide(value.encode("utf-8", "replace"), known)
            headers[name.lower()] = hidden.decode("utf-8", "replace")[:_MAX_HEADER]
    body = _hide(answer.body, known)
    try:
        return {"status": answer.status, "headers": headers, "body": body.decode()}
    except UnicodeDecodeError:
        return {"status": answer.status, "headers": headers, "body_b64": base64.b64encode(body).decode()}


def _hide(data: bytes, known: list[bytes]) -> bytes:
    for form in known:
        if form:
            data = data.replace(form, _HIDDEN)
    return data

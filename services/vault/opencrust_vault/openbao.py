"""OpenBao (or HashiCorp Vault) behind our own protocols. The only module that imports hvac, and only when configured.

`OpenBaoStore` keeps the values in KV v2; `transit_key` lets OpenBao's transit engine hold the unlock key of our own
file, so that unlocking is revocable and on OpenBao's record while reads stay local. The vault logs in with its TLS
client certificate; no other service ever talks to OpenBao.

hvac is synchronous, so every call runs in a small pool of threads with a client of its own each (requests' sessions are
not documented as thread-safe), with two seconds of timeout, behind a circuit breaker. hvac reads VAULT_TOKEN and
~/.vault-token when given no token: it is always given one.
"""

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hvac
import hvac.exceptions
import requests

from opencrust_vault.backend import SecretInfo
from opencrust_vault.document import MAX_VALUE, check_name
from opencrust_vault.errors import BadValue, NotFound, Unavailable, VersionConflict
from opencrust_vault.slots import TransitKey

T = TypeVar("T")

TIMEOUT = 2.0
THREADS = 4
BREAK_AFTER = 3
BREAK_SECONDS = 2.0
KEEP_VERSIONS = 5
_LOGIN_AGAIN = 2 / 3


@dataclass(frozen=True, slots=True)
class OpenBaoSettings:
    """Where OpenBao is and who we are there.

    Attributes:
        url: `https://host:port`.
        authority, certificate, key: PEM files for mutual TLS.
        role: the certificate role to log in as.
        mount, prefix: where the values are, in KV v2.
        transit_mount, transit_key: the transit key that wraps our unlock key, if any.
    """

    url: str
    authority: Path
    certificate: Path
    key: Path
    role: str = "vault"
    mount: str = "secret"
    prefix: str = "opencrust"
    transit_mount: str = "transit"
    transit_key: str | None = None


@dataclass(slots=True)
class _Session(threading.local):
    client: Any = None
    login_again: float = 0.0


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    open_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, now: float) -> None:
        with self.lock:
            if now < self.open_until:
                raise Unavailable("OpenBao does not answer; it is asked again in a moment")

    def note(self, ok: bool, now: float) -> None:
        with self.lock:
            self.failures = 0 if ok else self.failures + 1
            if self.failures >= BREAK_AFTER:
                self.open_until = now + BREAK_SECONDS


class OpenBaoClient:
    """Calls to OpenBao with a login that is kept fresh. Blocking; safe to use from several threads."""

    def __init__(self, settings: OpenBaoSettings, *, timeout: float = TIMEOUT) -> None:
        self.settings = settings
        self._timeout = timeout
        self._session = _Session()
        self._breaker = _Breaker()

    def call(self, work: Callable[[Any], T]) -> T:
        """Run `work(hvac client)`.

        Raises:
            Unavailable: OpenBao is sealed, absent, slow, or refuses us.
            NotFound, VersionConflict
        """
        self._breaker.check(time.monotonic())
        try:
            result = self._logged_in_call(work)
        except (hvac.exceptions.VaultDown, hvac.exceptions.InternalServerError, requests.RequestException) as error:
            self._breaker.note(False, time.monotonic())
            raise Unavailable(f"OpenBao does not answer ({type(error).__name__})") from None
        except hvac.exceptions.InvalidPath:
            raise NotFound("no such secret or version") from None
        except hvac.exceptions.InvalidRequest as error:
            if "check-and-set" in str(error):
                raise VersionConflict("the current version is another one") from None
            raise Unavailable("OpenBao refuses the request as malformed") from None
        except hvac.exceptions.VaultError as error:
            raise Unavailable(f"OpenBao refuses us ({type(error).__name__})") from None
        self._breaker.note(True, time.monotonic())
        return result

    def _logged_in_call(self, work: Callable[[Any], T]) -> T:
        try:
            return work(self._client())
        except hvac.exceptions.Forbidden:
            self._session.client = None  # the token was revoked or ran out: log in once more
            return work(self._client())

    def _client(self) -> Any:
        session, now = self._session, time.monotonic()
        if session.client is None or now >= session.login_again:
            settings = self.settings
            files = (str(settings.certificate), str(settings.key))
            client = hvac.Client(
                url=settings.url,
                token="",
                cert=files,
                verify=str(settings.authority),
                timeout=self._timeout,  # type: ignore[arg-type]
            )
            # `cacert` must stay out: hvac passes it on where a path is not understood.
            answer = client.auth.cert.login(name=settings.role, cert_pem=files[0], key_pem=files[1])
            session.client = client
            session.login_again = now + _LOGIN_AGAIN * answer["auth"]["lease_duration"]
        return session.client


class OpenBaoStore:
    """A `Backend` on KV v2."""

    def __init__(self, client: OpenBaoClient) -> None:
        self._client = client
        self._mount = client.settings.mount
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="openbao")

    def close(self) -> None:
        """End the threads; a call that hangs is left to its timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def get(self, name: str, version: int | None = None) -> tuple[int, bytearray]:
        path = self._path(name)
        answer = await self._run(
            lambda client: client.secrets.kv.v2.read_secret_version(
                path, version=version, mount_point=self._mount, raise_on_deleted_version=True
            )
        )
        content, number = answer["data"]["data"], answer["data"]["metadata"]["version"]
        expires = content.get("expires")
        if expires is not None and int(expires) <= time.time():
            raise NotFound("no such version of this secret, or it has expired")
        return int(number), bytearray(base64.b64decode(content["value"]))

    async def put(
        self, name: str, value: bytes | bytearray, *, expect: int | None = None, expires: int | None = None
    ) -> int:
        path = self._path(name)
        if not 1 <= len(value) <= MAX_VALUE:
            raise BadValue(f"a value has between 1 and {MAX_VALUE} bytes")
        content: dict[str, Any] = {"value": base64.b64encode(value).decode()}
        if expires is not None:
            content["expires"] = expires
        answer = await self._run(
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                path, content, cas=expect, mount_point=self._mount
            )
        )
        return int(answer["data"]["version"])

    async def destroy(self, name: str, version: int | None = None) -> None:
        path = self._path(name)
        known = await self.info(name)
        if version is None:
            await self._run(
                lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point=self._mount)
            )
        elif version not in known.versions:
            raise NotFound("no such version of this secret")
        else:
            await self._run(
                lambda client: client.secrets.kv.v2.destroy_secret_versions(path, [version], mount_point=self._mount)
            )

    async def names(self) -> list[str]:
        try:
            answer = await self._run(
                lambda client: client.secrets.kv.v2.list_secrets(self._client.settings.prefix, mount_point=self._mount)
            )
        except NotFound:
            return []
        return sorted(key for key in answer["data"]["keys"] if not key.endswith("/"))

    async def info(self, name: str) -> SecretInfo:
        path = self._path(name)
        answer = await self._run(
            lambda client: client.secrets.kv.v2.read_secret_metadata(path, mount_point=self._mount)
        )
        data = answer["data"]
        versions = [
            int(number)
            for number, state in data["versions"].items()
            if not state["destroyed"] and not state["deletion_time"]
        ]
        current = int(data["current_version"])
        created = data["versions"].get(str(current), {}).get("created_time", "")
        return SecretInfo(name, current, tuple(sorted(versions)), _seconds(created), None)

    async def health(self) -> str | None:
        try:
            await self._run(lambda client: client.auth.token.lookup_self())
        except Unavailable as error:
            return str(error)
        return None

    def _path(self, name: str) -> str:
        return f"{self._client.settings.prefix}/{check_name(name)}"

    async def _run(self, work: Callable[[Any], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(2 * TIMEOUT + 1):
                return await loop.run_in_executor(self._pool, self._client.call, work)
        except TimeoutError:
            raise Unavailable("OpenBao does not answer in time") from None


def transit_key(client: OpenBaoClient) -> TransitKey:
    """The unlock key that OpenBao's transit engine holds. Needs `transit_key` in the settings."""
    settings = client.settings
    name = settings.transit_key or ""

    def new_data_key() -> str:
        answer = client.call(
            lambda bao: bao.secrets.transit.generate_data_key(name, "wrapped", mount_point=settings.transit_mount)
        )
        return str(answer["data"]["ciphertext"])

    def unwrap(wrapped: str) -> bytes:
        answer = client.call(
            lambda bao: bao.secrets.transit.decrypt_data(name, wrapped, mount_point=settings.transit_mount)
        )
        return base64.b64decode(answer["data"]["plaintext"])

    return TransitKey(settings.transit_mount, name, new_data_key, unwrap)


def _seconds(created: str) -> int:
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(created[:19] + "+00:00").timestamp())
    except ValueError:
        return 0

"""What the gateway is told: from the environment, checked as a whole before anything listens."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from opencrust.service import SettingsError
from opencrust_gateway.limits import Rate

PREFIX = "OPENCRUST_GATEWAY_"
PORT = 3888


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; they are told to WebSocket clients in `hello`."""

    body: int = 1024 * 1024
    frame: int = 512 * 1024
    frame_before_auth: int = 64 * 1024
    auth_time: float = 10.0
    body_time: float = 20.0
    attachment: int = 25 * 1024 * 1024
    upload_time: float = 120.0
    answer_time: float = 600.0
    conversations: int = 100
    in_flight: int = 64
    outgoing_frames: int = 2_000
    outgoing_bytes: int = 4 * 1024 * 1024
    unauthenticated_sockets: int = 32
    requests: Rate = field(default_factory=lambda: Rate(burst=400, per_second=200))
    logins: Rate = field(default_factory=lambda: Rate(burst=10, per_second=0.2))
    upgrades: Rate = field(default_factory=lambda: Rate(burst=100, per_second=20))
    uploads: Rate = field(default_factory=lambda: Rate(burst=32, per_second=0.5))
    frames: Rate = field(default_factory=lambda: Rate(burst=1_000, per_second=500))


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Where to listen, and by which names clients may call us.

    Parameters:
        host: the address to listen on. public_urls: further origins that lead here, such as
        ``https://crust.example.org`` behind a proxy. certificate, key: PEM files; with both the gateway
        speaks TLS itself. trusted_proxy: the one address whose connections are taken, besides loopback, when
        it ends TLS for us. behind_published_port: we are in a container: we listen on all addresses of an
        internal network, and only a
            loopback port of the host is published to us. The Host list still holds.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    public_urls: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    trusted_proxy: str | None = None
    behind_published_port: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def scheme(self) -> str:
        """How we speak ourselves."""
        return "https" if self.certificate else "http"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def origins(self) -> frozenset[str]:
        """Every origin that a browser may show for us: scheme, host and port."""
        names = ["127.0.0.1", "localhost", "[::1]"]
        everywhere = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
        if not self.loopback and not self.behind_published_port and self.host not in everywhere:
            names.append(f"[{self.host}]" if ":" in self.host else self.host)
        own = {_origin(f"{self.scheme}://{name}:{self.port}") for name in names}
        return frozenset(own | {_origin(url) for url in self.public_urls})

    @property
    def hosts(self) -> frozenset[str]:
        """Every value of the Host header that names us."""
        return frozenset(origin.partition("://")[2] for origin in self.origins)


def from_environment(environ: Mapping[str, str]) -> GatewaySettings:
    """Read ``OPENCRUST_GATEWAY_HOST``, ``_PORT``, ``_PUBLIC_URLS`` (comma-separated), ``_TLS_CERTIFICATE``,
    ``_TLS_KEY``, ``_TRUSTED_PROXY`` and ``_BEHIND_PUBLISHED_PORT`` (``1``).

    Raises SettingsError, naming the variable.
    """

    def value(name: str) -> str:
        return environ.get(PREFIX + name, "").strip()

    settings = GatewaySettings(
        host=value("HOST") or "127.0.0.1",
        port=_port(value("PORT") or str(PORT)),
        public_urls=tuple(url.strip() for url in value("PUBLIC_URLS").split(",") if url.strip()),
        certificate=Path(value("TLS_CERTIFICATE")) if value("TLS_CERTIFICATE") else None,
        key=Path(value("TLS_KEY")) if value("TLS_KEY") else None,
        trusted_proxy=value("TRUSTED_PROXY") or None,
        behind_published_port=_flag(value("BEHIND_PUBLISHED_PORT")),
    )
    check(settings)
    return settings


def check(settings: GatewaySettings) -> None:
    """Refuse what would put the gateway in the open.

    Raises SettingsError where it would listen beyond loopback with neither TLS, nor a named proxy that ends
    TLS, nor a container's published loopback port before it.
    """
    if (settings.certificate is None) != (settings.key is None):
        raise SettingsError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY belong together: set both or neither")
    for url in settings.public_urls:
        _origin(url)
    if settings.trusted_proxy is not None:
        try:
            ipaddress.ip_address(settings.trusted_proxy)
        except ValueError:
            raise SettingsError(f"{PREFIX}TRUSTED_PROXY must be one IP address") from None
        if not any(url.startswith("https://") for url in settings.public_urls):
            raise SettingsError(f"a trusted proxy ends TLS: name its https:// address in {PREFIX}PUBLIC_URLS")
    safe = settings.certificate or settings.trusted_proxy or settings.behind_published_port
    if not settings.loopback and not safe:
        raise SettingsError(
            f"refusing to listen on {settings.host}: others could connect, in the clear. Keep 127.0.0.1, or set "
            f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY, or {PREFIX}TRUSTED_PROXY; in a container of which only "
            f"a loopback port is published, {PREFIX}BEHIND_PUBLISHED_PORT=1"
        )


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(f"{PREFIX}PUBLIC_URLS: {url!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise SettingsError(f"{PREFIX}PUBLIC_URLS: {url!r} must be http(s)://name[:port], with no path")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{name}" + (f":{port}" if port not in (None, default) else "")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise SettingsError(f"{PREFIX}PORT must be a number from 1 to 65535")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("", "0", "1"):
        raise SettingsError(f"{PREFIX}BEHIND_PUBLISHED_PORT must be 0 or 1")
    return text == "1"

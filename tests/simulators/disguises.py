"""Ways in which a model that was talked into it writes a value."""

import base64
import codecs
import html
from collections.abc import Callable
from urllib.parse import quote

from opencrust.credentials.fingerprints import FingerprintMaker, FingerprintSet

SECRETS = {
    "1": "sk-proj-A8f3kL0pQz7Xw2Vn5Bt9Yc4Rm6Js1Hd",
    "2": "xoxb-2039481123-8812934412-Zk3vQ0tLm7RfXa92",
    "3": "correct horse battery staple lunar 42 Qz",
    "4": "pass/word+With=odd&chars%20é9Zq7",
}


def fingerprints() -> FingerprintSet:
    return FingerprintMaker().make({name: value.encode() for name, value in SECRETS.items()})


def _b64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "base64": _b64,
    "base64, one byte before": lambda v: _b64("x" + v + "yz"),
    "base64, two bytes before": lambda v: _b64("xy" + v + "z"),
    "base64url": lambda v: base64.urlsafe_b64encode(v.encode()).decode().rstrip("="),
    "hex": lambda v: v.encode().hex(),
    "HEX": lambda v: v.encode().hex().upper(),
    "percent-encoded": lambda v: quote(v, safe=""),
    "percent-encoded, every byte": lambda v: "".join(f"%{b:02x}" for b in v.encode()),
    "reversed": lambda v: v[::-1],
    "JSON": lambda v: v.replace("é", "\\u00e9"),
    "hex with spaces": lambda v: v.encode().hex(" "),
    "hex with colons": lambda v: v.encode().hex(":"),
    "escaped": lambda v: "".join(f"\\x{b:02x}" for b in v.encode()),
    "rot13": lambda v: codecs.encode(v, "rot13"),
    "base64 twice": lambda v: _b64(_b64(v)),
    "hex of base64": lambda v: _b64(v).encode().hex(),
    "base64 reversed": lambda v: _b64(v)[::-1],
    "base64 of reversed": lambda v: _b64(v[::-1]),
    "base32": lambda v: base64.b32encode(v.encode()).decode(),
    "wrapped in lines": lambda v: "\n".join(v[at : at + 7] for at in range(0, len(v), 7)),
    "base64 wrapped in lines": lambda v: "\n".join(_b64(v)[at : at + 10] for at in range(0, len(_b64(v)), 10)),
    "decimal": lambda v: ", ".join(str(b) for b in v.encode()) if v.isascii() else v,
    "bits": lambda v: " ".join(f"{b:08b}" for b in v.encode()),
    "entities": lambda v: "".join(f"&#{ord(c)};" for c in v),
    "html": html.escape,
    "zero-width between": lambda v: "\u200b".join(v),
    "full width": lambda v: "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) < 0x7F else c for c in v),
}
SPELLED: dict[str, Callable[[str], str]] = {
    "spaced": " ".join,
    "dotted": ".".join,
    "comma and space": ", ".join,
    "one a line": "\n".join,
}
"""Of values without white space or separators of their own."""

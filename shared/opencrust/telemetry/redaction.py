"""The one place that knows what a secret looks like.

Every log line and every exported attribute passes a :class:`Redactor`. It knows two things:

* **shapes**: the token formats that providers and platforms publish, private keys in PEM, ``Bearer`` headers, and
  values that stand behind a telling name (``password=…``);
* **exact values**: functions that the credentials room adds, which find the household's own secrets by fingerprint.

It errs on the side of hiding. All patterns are linear in the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Detector = Callable[[str], Iterable[tuple[int, int]]]
"""Finds secrets in a text: yields ``(start, end)`` offsets of what must not be shown."""

HIDDEN: Final = "[redacted]"
_MAX_SCANNED: Final = 65_536
_MAX_DEPTH: Final = 6

# A token must not begin inside a longer word, or hashes and paths would be cut to pieces.
_START: Final = r"(?<![A-Za-z0-9])"

_SHAPES: Final = re.compile(
    "|".join(
        [
            # a private key in PEM, also one whose end was cut off
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----|\Z)",
            _START + r"sk-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic, OpenRouter, DeepSeek …
            _START + r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
            _START + r"xox[a-z](?:\.[a-z]+)?-[A-Za-z0-9-]{10,}",  # Slack
            _START + r"xapp-[A-Za-z0-9-]{10,}",  # Slack, Socket Mode
            r"hooks\.slack\.com/services/[A-Za-z0-9/_-]+",
            r"discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_-]+",
            r"(?<![0-9])[0-9]{6,12}(?::|%3[Aa])[A-Za-z0-9_-]{30,}",  # Telegram, also in /bot<token>/ URLs
            _START + r"[MNO][A-Za-z0-9_-]{22,28}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{25,}",  # Discord bot
            _START + r"AIza[A-Za-z0-9_-]{30,}",  # Google
            _START + r"ya29\.[A-Za-z0-9_-]{20,}",
            _START + r"GOCSPX-[A-Za-z0-9_-]{20,}",
            _START + r"gh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
            _START + r"github_pat_[A-Za-z0-9_]{20,}",
            _START + r"glpat-[A-Za-z0-9_-]{16,}",  # GitLab
            _START + r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # AWS
            _START + r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*",  # JSON Web Token
            _START + r"EAA[A-Za-z0-9]{30,}",  # Meta: WhatsApp
            _START + r"(?:hf|gsk|npm|r8|ops)_[A-Za-z0-9]{20,}",  # Hugging Face, Groq, npm, Replicate, 1Password
            _START + r"xai-[A-Za-z0-9]{20,}",
            _START + r"pypi-[A-Za-z0-9_-]{32,}",
            _START + r"hv[sbr]\.[A-Za-z0-9_-]{20,}",  # HashiCorp Vault, OpenBao
            _START + r"S[UAOCNX][A-Z2-7]{56}(?![A-Za-z0-9])",  # NATS nkey seed
            _START + r"AGE-SECRET-KEY-1[A-Z0-9]{20,}",
            _START + r"oc_[A-Za-z0-9_-]{16,}",  # OpenCrust's own
        ]
    )
)

_SENSITIVE_NAME: Final = (
    r"(?:api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret|secret|password|passwd|passphrase"
    r"|(?:auth|access|refresh|bot|bearer)?[_-]?token|ticket|authorization|set-cookie|cookie|signature)"
)
_NAMED: Final = re.compile(
    r"(?i)(?<![A-Za-z0-9])(" + _SENSITIVE_NAME + r"""["']?\s{0,3}[=:]\s{0,3}["']?(?:(?:bearer|basic|bot)\s+)?)"""
    r"""([^\s"'&,;<>(){}\[\]]{8,})"""
)
_SCHEME: Final = re.compile(r"(?i)(?<![A-Za-z0-9])((?:bearer|basic)\s{1,3})([A-Za-z0-9._~+/=-]{8,})")
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@:]{1,256}:[^\s/@]{1,1024}(?=@)")
_SENSITIVE_KEY: Final = re.compile(r"(?i)(?:^|[_.\s-])" + _SENSITIVE_NAME + r"$")


def redact_shapes(text: str) -> str:
    """``text`` with everything hidden that has the shape of a secret."""
    text = _SHAPES.sub(HIDDEN, text)
    text = _USERINFO.sub(HIDDEN, text)
    text = _SCHEME.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


class Redactor:
    """Hides secrets in texts and in nested values; one per process.

    Detectors may be added at any time (the credentials room adds one as soon as it holds a secret) and must neither
    raise nor log. A detector that raises hides the whole text: fail closed.
    """

    def __init__(self) -> None:
        self._detectors: tuple[Detector, ...] = ()

    def add_detector(self, detector: Detector) -> None:
        """Also hide what ``detector`` finds."""
        self._detectors = (*self._detectors, detector)

    def text(self, text: str, limit: int = 8_192) -> str:
        """``text`` without secrets, cut to ``limit`` characters (cut last: half a token has no shape)."""
        scanned = text[: max(_MAX_SCANNED, 2 * limit)]
        for detector in self._detectors:
            try:
                scanned = _hide(scanned, detector(scanned))
            except Exception:  # noqa: BLE001  a broken detector must not let anything through
                return HIDDEN
        scanned = redact_shapes(scanned)
        if len(scanned) <= limit and len(text) <= len(scanned):
            return scanned
        return scanned if len(scanned) <= limit else f"{scanned[:limit]}…[{len(text)} characters]"

    def value(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """A JSON-ready copy of ``value``: texts redacted, values behind a telling ``name`` hidden, bytes counted."""
        if value is None or isinstance(value, (bool, float)):
            return value
        if name and _SENSITIVE_KEY.search(name):
            return HIDDEN
        if isinstance(value, int):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"[{len(value)} bytes]"
        if depth >= _MAX_DEPTH:
            return "[too deep]"
        if isinstance(value, Mapping):
            return {self.text(str(k)): self.value(v, str(k), depth + 1) for k, v in list(value.items())[:64]}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item, name, depth + 1) for item in list(value)[:64]]
        return self.text(str(value))


def _hide(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    position = 0
    for start, end in sorted(spans):
        if end <= position:
            continue
        if not parts or start > position:
            parts += (text[position:start], HIDDEN)
        position = end
    return "".join([*parts, text[position:]]) if parts else text

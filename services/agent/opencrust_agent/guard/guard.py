"""The guard's verdicts, from the three rooms beside it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opencrust.telemetry.redaction import Detector
from opencrust_agent.guard.canary import Canary
from opencrust_agent.guard.disguise import Span, find, merged
from opencrust_agent.guard.links import Named, defang

HIDDEN = "[secret hidden]"
BLOCKED = "I did not send this answer: it repeated parts of my own instructions. Ask in another way."
_MAX_DEPTH = 12


class Kind(StrEnum):
    """What was found."""

    SECRET = "secret"  # noqa: S105 - a name
    CANARY = "canary"
    IMAGE = "image"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing and how often: nothing of what it said."""

    kind: Kind
    count: int


@dataclass(frozen=True, slots=True)
class Guarded:
    """What may leave."""

    text: str
    findings: tuple[Finding, ...] = ()
    blocked: bool = False


class Guard:
    """Looks at everything that leaves.

    Args:
        secrets: finds the vault's values in their plain forms (:meth:`opencrust.credentials.LeakDetector.spans`).
        canary: this process's.
    """

    def __init__(self, secrets: Detector, canary: Canary) -> None:
        self.secrets = secrets
        self.canary = canary
        self.findings: Counter[str] = Counter()
        """All that was found so far, by kind: for status."""

    def reply(self, text: str, named: Named, *, tainted: bool) -> Guarded:
        """A reply, or a part of one, as it may be sent."""
        if self._canaries(text):
            return self._counted(Guarded(BLOCKED, (Finding(Kind.CANARY, 1),), blocked=True))
        shown, hidden = self._hidden(text)
        safe = defang(shown, named, tainted=tainted)
        counts = ((Kind.SECRET, hidden), (Kind.IMAGE, safe.images), (Kind.LINK, safe.links))
        return self._counted(Guarded(safe.text, tuple(Finding(kind, count) for kind, count in counts if count)))

    def arguments(self, arguments: Mapping[str, Any]) -> tuple[Finding, ...]:
        """What a tool call would give away. Anything found: the call is not made."""
        texts = list(_texts(arguments))
        joined = "\n".join(texts)  # also a secret in pieces over several arguments, as the views squeeze it
        secrets, canaries = len(find(joined, self.secrets)), len(self._canaries(joined))
        found = ((Kind.SECRET, secrets), (Kind.CANARY, canaries))
        return self._counted(Guarded("", tuple(Finding(kind, count) for kind, count in found if count))).findings

    def value(self, value: Any, depth: int = 0) -> Any:
        """A copy of JSON data, for events and records, with secrets and canaries hidden in every text."""
        if isinstance(value, str):
            return hide(value, self.spans(value))
        if depth >= _MAX_DEPTH:
            return None
        if isinstance(value, Mapping):
            return {self.value(str(name), depth + 1): self.value(item, depth + 1) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, depth + 1) for item in value]
        return value

    def spans(self, text: str) -> list[Span]:
        """A detector for :class:`opencrust.telemetry.Redactor`: logs and traces."""
        return merged([*find(text, self.secrets), *self._canaries(text)])

    def _canaries(self, text: str) -> list[Span]:
        return find(text, self.canary.spans)

    def _hidden(self, text: str) -> tuple[str, int]:
        spans = find(text, self.secrets)
        return hide(text, spans), len(spans)

    def _counted(self, guarded: Guarded) -> Guarded:
        for finding in guarded.findings:
            self.findings[finding.kind] += finding.count
        return guarded


def hide(text: str, spans: Iterable[Span]) -> str:
    """``text`` with each span replaced; spans are sorted and apart."""
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], HIDDEN]
        at = end
    return "".join([*parts, text[at:]])


def _texts(value: Any, depth: int = 0) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
        for name, item in value.items():
            yield str(name)
            yield from _texts(item, depth + 1)
    elif isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        for item in value:
            yield from _texts(item, depth + 1)
    elif value is not None:
        yield str(value)

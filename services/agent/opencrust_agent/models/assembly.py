"""What both wire formats share: strict reading of JSON, and putting an answer together from pieces."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from opencrust_agent.models.errors import ErrorKind, ModelError
from opencrust_agent.models.events import Finish
from opencrust_agent.models.messages import Part, ToolCall
from opencrust_agent.models.usage import Usage

MAX_TOOL_CALLS = 128
MAX_ARGUMENT_DEPTH = 64
MAX_TEXT = 256 * 1024
"""Characters of an answer. A reply is cut at a quarter of it; who streams more repeats himself, or means harm: every
character is looked at while it runs, and all other conversations share that time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer as a wire format read it."""

    parts: tuple[Part, ...]
    finish: Finish
    usage: Usage
    model: str
    response_id: str


class Parser(Protocol):
    """Reads one answer. `feed` and `close` raise ModelError and nothing else, whatever the bytes are."""

    @property
    def finished(self) -> bool:
        """The provider's finish marker was seen; what may still come is bookkeeping."""
        ...

    @property
    def done(self) -> bool:
        """Nothing more will come: stop reading."""
        ...

    @property
    def usage(self) -> Usage: ...

    def feed(self, chunk: bytes) -> list[str]:
        """The pieces of text that `chunk` completes."""
        ...

    def read(self, body: bytes) -> list[str]:
        """Instead of `feed`: the whole answer as one JSON body, from a server that did not stream."""
        ...

    def close(self) -> Answer:
        """Raises ModelError(TRUNCATED) when no finish marker was seen."""
        ...


def protocol_error(what: str) -> ModelError:
    return ModelError(ErrorKind.PROTOCOL, f"the provider's answer is not understandable: {what}")


def load_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object, or ModelError(PROTOCOL) that does not quote it."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise protocol_error("not JSON") from None
    if not isinstance(value, dict):
        raise protocol_error("not a JSON object")
    return value


def as_object(value: object) -> dict[str, Any]:
    """`value` if it is an object; an empty one for null, anything else breaks the protocol."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise protocol_error("an object was expected")
    return value


def as_list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise protocol_error("a list was expected")
    return value


def as_text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise protocol_error("a string was expected")
    return value


def as_count(value: object) -> int:
    """A token count; null and nonsense are 0, because bookkeeping must not cost the answer."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def valid_unicode(text: str) -> str:
    """Joins surrogate pairs that arrived as two escapes and replaces lone ones by U+FFFD."""
    return text if _is_unicode(text) else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class TextStream:
    """Text in pieces; a piece may end in the middle of a surrogate pair, which is held back until the next."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._held = ""
        self._size = 0

    def add(self, piece: str) -> str:
        """What may be shown now. Raises ModelError (PROTOCOL) when all of it is over MAX_TEXT."""
        self._size += len(piece)
        if self._size > MAX_TEXT:
            raise protocol_error(f"its text is longer than {MAX_TEXT} characters")
        piece = self._held + piece
        self._held = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        piece = valid_unicode(piece)
        self._pieces.append(piece)
        return piece

    def whole(self) -> str:
        return "".join(self._pieces) + ("\ufffd" if self._held else "")


@dataclass(slots=True)
class OpenCall:
    """A tool call whose arguments are still arriving."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    ready_arguments: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def close(self, number: int, response_id: str, taken: set[str]) -> ToolCall:
        """`taken` are the ids of this answer so far: a missing or repeated one is replaced, so that results can be
        matched to calls; the substitute is derived from the content, so equal bytes give equal answers."""
        if not self.name:
            raise protocol_error("a tool call has no name")
        raw = valid_unicode("".join(self.arguments))
        arguments, malformed = _arguments(raw, self.ready_arguments or {})
        call_id = valid_unicode(self.id)
        if not call_id or call_id in taken:
            seed = f"{response_id}\0{number}\0{self.name}\0{raw}".encode("utf-8", "replace")
            call_id = "call_" + hashlib.sha256(seed).hexdigest()[:24]
        taken.add(call_id)
        return ToolCall(call_id, valid_unicode(self.name), arguments, malformed, self.extra)


def _arguments(raw: str, ready: dict[str, Any]) -> tuple[dict[str, Any], str]:
    try:
        value = json.loads(raw, parse_constant=_no_constant) if raw.strip() else ready
        if not isinstance(value, dict):
            return {}, "the arguments are not a JSON object"
        return {valid_unicode(key): _clean(item, 1) for key, item in value.items()}, ""
    except RecursionError:
        return {}, "the arguments are nested too deeply"
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        return {}, f"the arguments are not valid JSON{where}"


def _clean(value: object, depth: int) -> object:
    """`json.loads` lets lone surrogates through as escapes, and nothing downstream could encode them. The depth is
    bounded because everybody who handles the arguments later recurses over them."""
    if depth > MAX_ARGUMENT_DEPTH:
        raise RecursionError
    match value:
        case str():
            return valid_unicode(value)
        case list():
            return [_clean(item, depth + 1) for item in value]
        case dict():
            return {valid_unicode(key): _clean(item, depth + 1) for key, item in value.items()}
    return value

"""`vault:<name>` in configuration files, and plain secrets that should not be there."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opencrust.telemetry.redaction import redact_shapes

PREFIX = "vault:"
_REFERENCE = re.compile(r"vault:([a-z0-9][a-z0-9_.-]{0,95})")
_TELLING = re.compile(
    r"(?i)(?:^|[_.-])(?:api[_-]?key|access[_-]?key|private[_-]?key|secret|password|passwd|passphrase|token|credential"
    r"|authorization|cookie)s?$"
)


@dataclass(frozen=True, slots=True)
class PlainSecret:
    """A secret that stands in a configuration file as it is.

    Attributes:
        line: 1 for the first.
        path: the keys and indexes that lead to it.
        suggestion: the name to keep it under in the vault.
    """

    line: int
    path: tuple[str | int, ...]
    suggestion: str


def referenced(text: str) -> str | None:
    """The vault name in `vault:<name>`; None when `text` is no such reference."""
    matched = _REFERENCE.fullmatch(text)
    return matched[1] if matched else None


def find_plain_secrets(text: str) -> list[PlainSecret]:
    """Plain secrets in a JSON configuration: values behind a telling name, or of a known token's shape.

    Raises:
        ValueError: `text` is not JSON. The message does not repeat it.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise ValueError("the configuration is not JSON") from None
    taken: set[str] = set()
    return [
        PlainSecret(_line(text, value), path, _suggest(content, path, taken))
        for path, value in _suspicious(content, ())
    ]


def with_references(text: str, replacements: dict[tuple[str | int, ...], str]) -> tuple[str, dict[str, bytes]]:
    """Replace values by references.

    Args:
        replacements: where → the vault's name for it.

    Returns:
        The new JSON text, and name → value of what was replaced.
    """
    content = json.loads(text)
    values: dict[str, bytes] = {}
    for path, name in replacements.items():
        place = content
        for step in path[:-1]:
            place = place[step]
        values[name] = str(place[path[-1]]).encode()
        place[path[-1]] = PREFIX + name
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n", values


def _suspicious(content: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _suspicious(value, (*path, name))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _suspicious(value, (*path, index))
    elif isinstance(content, str) and content and referenced(content) is None:
        names = [step for step in path if isinstance(step, str)]
        if (names and _TELLING.search(names[-1])) or redact_shapes(content) != content:
            yield path, content


def _line(text: str, value: str) -> int:
    for spelling in (json.dumps(value, ensure_ascii=False), json.dumps(value)):
        at = text.find(spelling)
        if at >= 0:
            return text.count("\n", 0, at) + 1
    return 1


def _suggest(content: Any, path: tuple[str | int, ...], taken: set[str]) -> str:
    """A name such as `provider.openai.api_key`: list entries are called by their own name where they have one."""
    words: list[str] = []
    place = content
    for step in path:
        place = place[step]
        if isinstance(step, str):
            words.append(step)
        elif isinstance(place, dict) and isinstance(place.get("name"), str):
            words[-1] = words[-1].removesuffix("s")
            words.append(place["name"])
        else:
            words.append(str(step))
    if words[0] == "provider" and words[-1] == "credential":
        words[-1] = "api_key"
    name = re.sub(r"[^a-z0-9_.-]+", "_", ".".join(words).lower()).lstrip("_.-")[:90] or "imported"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    taken.add(unique)
    return unique

"""Fingerprints: finding a household's secrets in a text without knowing them.

The vault makes a set of keyed hashes over every credential and the forms it is likely to leak in (as it is, base64
at each alignment, hex, percent-encoded, JSON-escaped), and hands the set, sealed, to those who watch what goes out.

Why the set is useless for guessing:

* the tags are BLAKE2b-128 under a random key that lives in memory only and is another one for each recipient and
  each start of the vault; without the set, nothing can be tested at all;
* whoever has the set can test whole candidates only. Values below `MIN_BITS` of estimated strength (PINs, words,
  short passwords) get no fingerprint, so testing means searching 2^64 and more;
* the one shortcut for speed, a bucket of 12 bits, is computed from the first four characters of a form alone. It can
  give away those four and nothing behind them, and they do not count towards `MIN_BITS`.
"""

import base64
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from urllib.parse import quote

MIN_BITS = 64.0
_PREFIX = 4
_BUCKETS = 0xFFF
_MIN_LENGTH = 12
_TAG = 16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One form of one secret.

    Attributes:
        secret: an opaque id of the secret; the vault can resolve it, others cannot.
        length: of the form, in characters.
        bucket: see the module.
        tag: the keyed hash of the whole form.
        spaced: the form contains white space, so words have to be looked at together.
    """

    secret: str
    length: int
    bucket: int
    tag: bytes
    spaced: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a text shows a secret: characters `start` to `end`."""

    start: int
    end: int
    secret: str


class FingerprintSet:
    """What a watcher holds. It shows nothing of itself, and finds."""

    def __init__(self, key: bytes, seed: int, fingerprints: Iterable[Fingerprint]) -> None:
        """Args:
        key: 32 random bytes.
        seed: 32 random bits for the buckets.
        """
        self._key = key
        self._seed = seed
        self.fingerprints = tuple(fingerprints)
        self._plain = _Table(item for item in self.fingerprints if not item.spaced)
        self._spaced = _Table(item for item in self.fingerprints if item.spaced)

    def __repr__(self) -> str:
        return f"FingerprintSet({len(self.fingerprints)} fingerprints)"

    def __reduce__(self) -> str:
        raise TypeError("a set of fingerprints is not pickled")

    def find(self, text: str) -> list[Hit]:
        """Every place where `text` contains a form of a secret. Linear in the text's length."""
        data = _flatten(text)
        hits: list[Hit] = []
        if self._plain.shortest:
            for run in re.finditer(rb"[^\s]{%d,}" % self._plain.shortest, data):
                hits.extend(self._scan(self._plain, data, run.start(), run.end()))
        if self._spaced.shortest:
            hits.extend(self._scan(self._spaced, data, 0, len(data)))
        return hits

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """`find` as offsets alone: a detector for `opencrust.telemetry.Redactor`."""
        return ((hit.start, hit.end) for hit in self.find(text))

    def encode(self) -> bytes:
        """The set as JSON, for sealing. It is secret."""
        content = {
            "v": 1,
            "key": base64.b64encode(self._key).decode(),
            "seed": self._seed,
            "entries": [
                [item.secret, item.length, item.bucket, base64.b64encode(item.tag).decode(), item.spaced]
                for item in self.fingerprints
            ],
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes | bytearray) -> "FingerprintSet":
        """Undo `encode`. Raises ValueError, without the content, when it is something else."""
        try:
            content = json.loads(data)
            entries = [
                Fingerprint(str(secret), int(length), int(bucket), base64.b64decode(tag), bool(spaced))
                for secret, length, bucket, tag, spaced in content["entries"]
            ]
            return cls(base64.b64decode(content["key"]), int(content["seed"]), entries)
        except (ValueError, KeyError, TypeError):
            raise ValueError("this is not a set of fingerprints") from None

    def _scan(self, table: "_Table", data: bytes, start: int, end: int) -> Iterator[Hit]:
        lengths, seed, crc32 = table.lengths, self._seed, zlib.crc32
        for at in range(start, end - table.shortest + 1):
            candidates = lengths.get(crc32(data[at : at + _PREFIX], seed) & _BUCKETS)
            if candidates is None:
                continue
            for length in candidates:
                if at + length <= end:
                    found = table.secrets.get(_tag(self._key, data[at : at + length]))
                    if found is not None:
                        yield Hit(at, at + length, found)


class _Table:
    def __init__(self, fingerprints: Iterable[Fingerprint]) -> None:
        self.lengths: dict[int, tuple[int, ...]] = {}
        self.secrets: dict[bytes, str] = {}
        for item in fingerprints:
            self.lengths[item.bucket] = tuple({*self.lengths.get(item.bucket, ()), item.length})
            self.secrets[item.tag] = item.secret
        self.shortest = min((length for lengths in self.lengths.values() for length in lengths), default=0)


@dataclass(slots=True)
class FingerprintMaker:
    """Makes a set for one recipient."""

    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    seed: int = field(default_factory=lambda: int.from_bytes(os.urandom(4), "big"), repr=False)

    def make(self, secrets: Mapping[str, bytes | bytearray]) -> FingerprintSet:
        """Fingerprints of `secrets` (opaque id → value); those too weak for it are left out."""
        made = {}
        for secret, value in secrets.items():
            if strength(bytes(value)) < MIN_BITS:
                continue
            for form in forms(bytes(value)):
                bucket = zlib.crc32(form[:_PREFIX], self.seed) & _BUCKETS
                tag = _tag(self.key, form)
                made[tag] = Fingerprint(secret, len(form), bucket, tag, re.search(rb"\s", form) is not None)
        return FingerprintSet(self.key, self.seed, made.values())


def strength(value: bytes) -> float:
    """A cautious estimate in bits of what has to be guessed, the first four characters not counted.

    It is the length behind them times the smaller of what the alphabet allows and what the repetitions leave.
    """
    rest = value[_PREFIX:]
    if not rest:
        return 0.0
    counts = Counter(rest)
    entropy = -sum(count / len(rest) * math.log2(count / len(rest)) for count in counts.values())
    alphabet = 10 if rest.isdigit() else 36 if rest.isalnum() and (rest.islower() or rest.isupper()) else 64
    return len(rest) * min(entropy, math.log2(alphabet))


def forms(value: bytes) -> set[bytes]:
    """The spellings in which a value is looked for, at least 12 characters each."""
    found = {value.hex(), value.hex().upper()}
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + value).decode()
        # Characters that mix in bits of a neighbouring byte differ with the context, so they are cut off.
        inner = encoded[(0, 2, 3)[shift] : 8 * (shift + len(value)) // 6]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {form.encode() for form in found if len(form) >= _MIN_LENGTH}
    found |= {text, quote(text, safe=""), quote(text), json.dumps(text)[1:-1]}
    return {_flatten(form) for form in found if len(form) >= _MIN_LENGTH}


def _flatten(text: str) -> bytes:
    """One byte per character, so that offsets stay; characters beyond Latin-1 all look the same."""
    return text.encode("latin-1", "replace")


def _tag(key: bytes, form: bytes) -> bytes:
    return blake2b(form, key=key, digest_size=_TAG).digest()

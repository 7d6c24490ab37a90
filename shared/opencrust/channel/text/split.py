"""Where a long run is cut."""

import re
from bisect import bisect_right

from opencrust.channel.text.dialect import Dialect, Part
from opencrust.channel.text.flow import Flow, Kind, Span
from opencrust.channel.text.graphemes import is_border

LEAST = 64
"""Smallest limit that still makes sense: a fence, its language and a word."""

_SENTENCE = re.compile(r"[.!?…。！？][\"')\]»”]?\s")
_GRAPHEME_MAX = 64
"""A longer cluster of combining marks is no character that a person reads: it may be cut."""


def split(run: Flow, dialect: Dialect, limit: int) -> list[Part]:
    """Cut ``run`` into parts of at most ``limit`` units.

    Cuts at the end of a paragraph, else a line, a sentence, a word, else between two characters as a person sees them;
    never inside a link or code within a line, if that is not itself too long. White space at a cut falls away.

    Raises:
        ValueError: the limit is under :data:`LEAST`.
    """
    if limit < LEAST:
        raise ValueError(f"a limit of {limit} is too small: at least {LEAST}")
    parts: list[Part] = []
    end_of_text = len(run.text.rstrip())
    at = _skip(run, 0, end_of_text)
    while at < end_of_text:
        end = _fitting(run, dialect, limit, at, end_of_text)
        if end < end_of_text:
            end = _best(run, at, end)
        part = dialect.part(run, at, _trimmed(run, at, end))
        if part.text.strip():
            parts.append(part)
        at = _skip(run, end, end_of_text)
    return parts


def _fitting(run: Flow, dialect: Dialect, limit: int, at: int, end: int) -> int:
    """The largest end so that ``[at, end)`` fits."""

    def fits(to: int) -> bool:
        part = dialect.part(run, at, to)
        most = dialect.entities_max
        return part.size <= limit and (most is None or part.entities <= most)

    low, high = at + 1, min(end, at + limit)  # every code point has one unit or more
    if fits(high):
        return high
    while low < high - 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _best(run: Flow, at: int, end: int) -> int:
    """The best place to cut in ``(at, end]``."""
    text = run.text
    half = at + (end - at) // 2
    for found in (
        _last(run, "\n\n", half, end, at),
        _last(run, "\n", half, end, at),
        _sentence(run, half, end, at),
        _last(run, " ", at + (end - at) // 4, end, at),
        _last(run, "\n", at, end, at),
    ):
        if found is not None:
            return found
    if text[end : end + 1].isspace() and not _inside(run, end, at):
        return end
    whole = _start_of_unit(run, at, end)
    for place in range(whole or end, max(at, (whole or end) - _GRAPHEME_MAX), -1):
        if is_border(text, place):
            return place
    return end


def _last(run: Flow, border: str, low: int, high: int, at: int) -> int | None:
    place = high if run.text.startswith(border, high) else run.text.rfind(border, low, high)
    while place > max(low, at):
        if not (border == "\n\n" and _span(run, place).has(Kind.FENCE)) and not _inside(run, place, at):
            return place
        place = run.text.rfind(border, low, place + len(border) - 1)
    return None


def _sentence(run: Flow, low: int, high: int, at: int) -> int | None:
    for match in reversed(list(_SENTENCE.finditer(run.text, low, min(high + 1, len(run.text))))):
        place = match.end() - 1
        if place <= high and not _inside(run, place, at) and not _span(run, place).has(Kind.FENCE):
            return place
    return None


def _span(run: Flow, at: int) -> Span:
    return run.spans[min(bisect_right(run.spans, at, key=lambda span: span.start) - 1, len(run.spans) - 1)]


def _inside(run: Flow, place: int, at: int) -> bool:
    """Whether a cut at ``place`` would be inside a link or code within a line that began after ``at``."""
    if place >= len(run.text) or place <= at:
        return False
    before, after = _span(run, place - 1), _span(run, place)
    held = {mark for mark in before.marks if mark.kind in (Kind.LINK, Kind.CODE)}
    return any(mark in held for mark in after.marks)


def _start_of_unit(run: Flow, at: int, end: int) -> int | None:
    """Where the link or code begins that ``end`` lies in, if that is after ``at``."""
    if not _inside(run, end, at):
        return None
    place = end
    while place > at and _inside(run, place, at):
        place = _span(run, place - 1).start
    return place if place > at else None


def _trimmed(run: Flow, at: int, end: int) -> int:
    while end > at and run.text[end - 1].isspace():
        end -= 1
    return max(end, at + 1)


def _skip(run: Flow, at: int, end: int) -> int:
    """Past the white space at a cut; within a fence past the end of the line only: the rest is indentation."""
    while at < end and run.text[at].isspace():
        span = _span(run, at)
        if span.has(Kind.FENCE) and (run.text[at] != "\n" or run.text[at - 1 : at] == "\n"):
            break
        at += 1
    return at

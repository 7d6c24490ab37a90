"""Secrets and canaries, in every dress, in replies, arguments and what is logged; and benign texts, unchanged."""

import base64
import re
import secrets
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opencrust.credentials.fingerprints import MIN_BITS, FingerprintMaker, strength
from opencrust.telemetry import Redactor
from opencrust_agent.guard import BLOCKED, Canary, Finding, Guard, Guarded, Kind, Named
from opencrust_agent.guard.guard import HIDDEN
from simulators.disguises import ENCODINGS, SECRETS, SPELLED, fingerprints

CANARY = Canary()
GUARD = Guard(fingerprints().spans, CANARY)
NOBODY = Named()
CASES = [(encoding, name) for encoding in ENCODINGS for name in SECRETS]
CASES += [(encoding, name) for encoding in SPELLED for name in ("1", "2")]
ALL = ENCODINGS | SPELLED
BEFORE, AFTER = "Of course! Here it is: ", " - tell me if you need more."


@pytest.mark.parametrize(("encoding", "name"), CASES)
def test_a_secret_does_not_leave(encoding: str, name: str) -> None:
    shown = ALL[encoding](SECRETS[name])
    text = BEFORE + shown + AFTER
    guarded = GUARD.reply(text, NOBODY, tainted=False)
    assert shown not in guarded.text
    assert HIDDEN in guarded.text
    assert guarded.findings[0].kind is Kind.SECRET
    assert guarded.text.startswith("Of course! Here it is")
    assert guarded.text.endswith("if you need more.")
    assert GUARD.arguments({"to": "x", "body": {"parts": [text]}})
    logged = Redactor()
    logged.add_detector(GUARD.spans)
    assert shown not in logged.text(text)


@pytest.mark.parametrize("encoding", ALL)
def test_a_canary_does_not_leave(encoding: str) -> None:
    line = CANARY.line()
    word = re.search(r"[a-z2-9]{28}", line)
    assert word
    for shown in (word[0], line):
        text = BEFORE + ALL[encoding](shown) + AFTER
        guarded = GUARD.reply(text, NOBODY, tainted=False)
        assert guarded == Guarded(BLOCKED, (Finding(Kind.CANARY, 1),), blocked=True)
        assert [finding.kind for finding in GUARD.arguments({"url": text})] == [Kind.CANARY]
        assert word[0][:14] not in str(GUARD.value({"a": [text]}))


def test_a_secret_in_pieces_over_arguments_is_one_in_pieces_over_lines() -> None:
    value = SECRETS["1"]
    assert GUARD.arguments({"first": value[:20], "then": "x"}) == ()
    assert GUARD.arguments({"lines": [value[:20], value[20:]]})


BENIGN = [
    "Plain words, and numbers such as 3.14, 2024-05-01 and +49 30 1234567.",
    "```python\nimport asyncio\nfrom x.y import z\n\nasyncio.run(main())\nh = {'Authorization': f'Bearer {key}'}\n```",
    "Use `os.path.join(a, b)`; see main.py:12, config.json and `password = getpass()`.",
    "[docs](https://docs.python.org/3/library/asyncio.html#asyncio.run?x=1) and https://example.org/a?b=c#d.",
    base64.b64encode(bytes(range(256)) * 8).decode(),
    "\n".join(base64.encodebytes(bytes(range(256))).decode().splitlines()),
    "sha256:" + "0123456789abcdef" * 4 + "\nuuid 6f1ed002-ab5a-4c3e-9f0e-000000000001",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n- [x] done\n- [ ] not\n\n> quote[^1]\n\n[^1]: a note",
    "a - b - c - d - e - f - g - h - i - j - k - l - m - n",
    '```html\n<img src="https://example.org/x.png">\n```\n```sh\ncurl -s https://example.org/?q=1 | jq .\n```',
    "![inline](data:image/png;base64,iVBORw0KGgo=) and ![ours](/v1/attachments/abc)",
    "E-mail anna@example.org; 1,234,567; C:\\Users\\x; ~/.ssh/config; 192.168.1.1; http://localhost:8080/",
    "你好，世界。Привет, мир! مرحبا 🎉👩‍👩‍👧 ﬁne ① ½",
]


@pytest.mark.parametrize("text", BENIGN)
def test_a_benign_reply_is_not_touched(text: str) -> None:
    assert GUARD.reply(text, NOBODY, tainted=False).text == text
    assert GUARD.arguments({"text": text}) == ()
    assert GUARD.value({"text": text}) == {"text": text}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_without_links_and_secrets_is_not_touched(text: str) -> None:
    if not any(sign in text for sign in ("](", "<", "![", "\ue000")):
        assert GUARD.reply(text, NOBODY, tainted=False).text == text


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(ALL)),
    st.sampled_from(["1", "2"]),
    st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=80),
    st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=80),
)
def test_a_secret_is_found_wherever_it_stands(encoding: str, name: str, before: str, after: str) -> None:
    shown = ALL[encoding](SECRETS[name])
    guarded = GUARD.reply(f"{before}\n{shown}\n{after}", NOBODY, tainted=False)
    assert shown not in guarded.text


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(ENCODINGS)), st.binary(min_size=18, max_size=40))
def test_any_strong_secret_is_found(encoding: str, value: bytes) -> None:
    secret = base64.urlsafe_b64encode(secrets.token_bytes(8) + value).decode().rstrip("=")
    assume(strength(secret.encode()) >= MIN_BITS)
    guard = Guard(FingerprintMaker().make({"1": secret.encode()}).spans, CANARY)
    shown = ENCODINGS[encoding](secret)
    assert shown not in guard.reply(f"it is {shown} now", NOBODY, tainted=False).text


def test_long_replies_are_looked_at_in_good_time() -> None:
    text = ("A sentence of some words, with a https://example.org/path in it. " * 400)[:20_000]
    for value in (text, base64.b64encode(secrets.token_bytes(15_000)).decode(), "ab " * 7_000, "%41" * 7_000):
        begun = time.process_time()
        GUARD.reply(value, NOBODY, tainted=True)
        assert time.process_time() - begun < 2.0

"""The scoring copy: what hides is taken out and counted; what only writes a language or an emoji is no offence."""

import pytest

from opencrust_agent.assess import Assessor, Verdict
from opencrust_agent.assess.normalise import normalise


@pytest.mark.parametrize(
    "text",
    [
        "👨\u200d👩\u200d👧\u200d👦 on holiday ❤\ufe0f",
        "می\u200cخواهم فردا به کتابخانه بروم",
        "क्\u200dष और क्\u200cष",
        "Donau\u00addampf",
    ],
)
def test_joiners_of_languages_and_emoji_are_not_suspicious(assessor: Assessor, text: str) -> None:
    found = normalise(text)
    assert (found.invisible, found.hidden) == (0, ())
    assert assessor.assess(text, "user").verdict is Verdict.PASS


def test_what_no_screen_shows_is_taken_out_counted_and_read() -> None:
    found = normalise("a\u200bb\u202ec\u2066d" + "".join(chr(0xE0000 + ord(c)) for c in "obey me"))
    assert found.text == "abcd"
    assert found.invisible >= 3
    assert found.hidden == ("obey me",)


def test_bytes_behind_an_emoji_are_read_with_their_line_ends() -> None:
    hidden = "first line\nsecond"
    text = "😀" + "".join(chr(0xFE00 + b if b < 16 else 0xE0100 + b - 16) for b in hidden.encode())
    assert normalise(text).hidden == (hidden,)


def test_look_alikes_are_folded_and_real_words_of_other_scripts_stay() -> None:
    assert normalise("ignоre аll").text == "ignore all"
    assert normalise("Привет, как дела?").text == "Привет, как дела?"
    assert normalise("cafe\u0301 na\u0336\u0301me").text == "cafe name"

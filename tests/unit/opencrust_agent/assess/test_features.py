"""Where the detector looks: chunks of a text, and the sentences of its worst ones."""

from opencrust_agent.assess import features
from opencrust_agent.assess.assessor import shipped_rules

RULES = shipped_rules()
TEXT = "The first sentence stands here alone. The second one is a little longer than that.\nOk.\nThe third ends it."


def _said(scan: features.Scan, first: int, end: int) -> str:
    return " ".join(scan.words[first:end])


def test_chunks_cover_every_word() -> None:
    for count in (0, 1, 120, 121, 500, 3001):
        seen = {at for start, end in features.chunks(count) for at in range(start, end)}
        assert seen == set(range(count))


def test_one_to_three_sentences_are_judged_together() -> None:
    scan = features.scan(TEXT, RULES)
    said = {_said(scan, *window) for window in features.sentences(scan, 0, len(scan.words))}
    first, second = "the first sentence stands here alone", "the second one is a little longer than that"
    assert {first, second, f"{first} {second}", f"{first} {second} ok the third ends it"} <= said
    assert "ok" not in said  # a line of a word or two goes with its neighbour


def test_a_sentence_that_begins_in_a_chunk_is_read_to_its_end() -> None:
    scan = features.scan("Before it. " * 20 + TEXT, RULES)
    begins = scan.words.index("first") - 1
    windows = features.sentences(scan, begins - 4, begins + 3)
    assert "the first sentence stands here alone" in {_said(scan, *window) for window in windows}


def test_text_without_an_end_of_sentence_gives_no_endless_window() -> None:
    scan = features.scan("word " * 1000, RULES)
    assert all(end - first <= features.CHUNK for first, end in features.sentences(scan, 90, 180))

from opencrust.contracts import EventType, TurnEvent
from opencrust_gateway.running import MOST, QUIET, RunningTurns


def event(kind: EventType, index: int, *, attempt: int = 1, text: str = "", **data: object) -> TurnEvent:
    return TurnEvent(type=kind, message_id="k.m1", attempt=attempt, index=index, text=text, data=data)


def test_a_turn_from_its_message_to_its_end() -> None:
    turns = RunningTurns()
    turns.accepted("k", "k.m1", "hello?", "2026-01-01T00:00:00+00:00", 0)
    (waiting,) = turns.of("k", 1)
    assert (waiting.attempt, waiting.user_text) == (0, "hello?")
    turns.happened("k", event(EventType.STARTED, 0), 1)
    turns.happened("k", event(EventType.DELTA, 1, text="Hel"), 1)
    turns.happened("k", event(EventType.TOOL, 2, call="c1", tool="web", state="started"), 1)
    turns.happened("k", event(EventType.TOOL, 3, call="c1", state="done", summary="ok"), 1)
    turns.happened("k", event(EventType.DELTA, 4, text="lo"), 1)
    (running,) = turns.of("k", 2)
    told = running.told()
    assert (told["text"], told["index"], told["attempt"], told["complete"]) == ("Hello", 4, 1, True)
    assert told["tools"] == [{"call": "c1", "tool": "web", "state": "done", "summary": "ok"}]
    assert turns.of("other", 2) == []
    turns.happened("k", event(EventType.FINISHED, 5), 3)
    assert turns.of("k", 3) == []


def test_another_attempt_begins_anew_and_an_older_one_is_not_heard() -> None:
    turns = RunningTurns()
    turns.happened("k", event(EventType.DELTA, 1, text="old"), 0)
    turns.happened("k", event(EventType.STARTED, 0, attempt=2), 0)
    turns.happened("k", event(EventType.DELTA, 2, text="late"), 0)
    turns.happened("k", event(EventType.DELTA, 1, attempt=2, text="new"), 0)
    assert turns.of("k", 0)[0].text == "new"
    turns.happened("k", event(EventType.RESET, 2, attempt=2), 0)
    assert turns.of("k", 0)[0].text == ""


def test_a_text_whose_beginning_was_missed_says_so() -> None:
    turns = RunningTurns()
    turns.happened("k", event(EventType.DELTA, 7, text="lo"), 0)
    assert turns.of("k", 0)[0].told()["complete"] is False


def test_it_is_bounded_and_forgets_what_is_silent() -> None:
    turns = RunningTurns()
    for number in range(MOST + 10):
        turns.accepted("k", f"k.{number}", "x", "", number)
    assert turns.count == MOST
    assert "k.9" not in {turn.message_id for turn in turns.of("k", 20)}
    assert turns.of("k", MOST + 10 + QUIET) == []

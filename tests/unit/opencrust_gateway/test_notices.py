"""The watcher: what reaches a client, and what does not."""

import json
from datetime import UTC, datetime

from opencrust.contracts import SessionView, Turn
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.notices import SEEN, Notice, Watcher, durable_seq, notice_of_turn

MAIN = Conversation("operator", "main")


def turn(seq: int) -> Turn:
    return Turn(
        seq=seq,
        message_id=MAIN.bus_id(f"m{seq}"),
        user="operator",
        text="?",
        reply_id=f"re:{seq}:0",
        reply="!",
        at=datetime(2026, 11, 22, tzinfo=UTC),
    )


def reply(seq: int) -> Notice:
    return notice_of_turn(MAIN, turn(seq))


def watcher(*, everything: bool = True) -> tuple[Watcher, list[Notice]]:
    got: list[Notice] = []
    return Watcher(MAIN, got.append, everything), got


def test_a_reply_comes_once_however_many_ways_it_takes() -> None:
    watching, got = watcher()
    for _ in range(3):
        watching.offer(reply(1))
    assert got == [reply(1)]


def test_what_comes_while_the_history_is_read_comes_after_it_and_not_twice() -> None:
    watching, got = watcher()
    watching.hold()
    for seq in (1, 2, 3):
        watching.offer(reply(seq))
    assert got == []
    watching.resume(SessionView(cursor=2, turns=[turn(1), turn(2)]))
    assert got == [reply(3)]
    assert watching.cursor == 2


def test_a_history_that_could_not_be_read_loses_nothing() -> None:
    watching, got = watcher()
    watching.hold()
    watching.offer(reply(1))
    watching.resume(None)
    assert got == [reply(1)]
    assert watching.cursor is None


def test_without_the_right_to_read_one_hears_of_ones_own_messages_only() -> None:
    watching, got = watcher(everything=False)
    watching.own.add("m2")
    for seq in (1, 2, 3):
        watching.offer(reply(seq))
    assert got == [reply(2)]
    assert watching.own == set()


def test_an_answer_settles_what_was_waited_for() -> None:
    watching, _ = watcher()
    watching.pending |= {"m1", "m2"}
    watching.offer(reply(1))
    watching.resume(SessionView(cursor=2, turns=[turn(2)]))
    assert watching.pending == set()


def test_memory_is_bounded() -> None:
    watching, got = watcher()
    for seq in range(1, 3 * SEEN):
        watching.offer(reply(seq))
    assert len(watching._seen) == SEEN
    assert len(got) == 3 * SEEN - 1


def test_durable_numbers_grow_with_the_message_and_its_parts() -> None:
    numbers = [durable_seq(reply_id) for reply_id in ("re:1:0", "re:1:1", "re:1:999", "re:2:0", "re:1000000:0")]
    assert numbers == sorted(set(numbers))
    assert [durable_seq(text) for text in ("", "re:", "re:x:0", "re:1", "notice:1:0", "re:²:0", "re:1:-1")] == [0] * 7


def test_a_client_is_not_told_its_own_message_and_others_are() -> None:
    writer, told_writer = watcher()
    reader, told_reader = watcher()
    writer.own.add("m1")
    said = Notice("message", MAIN, "m1", {"text": "?"})
    for one in (writer, reader):
        one.offer(said)
    assert told_writer == []
    assert told_reader == [said]


def test_a_message_that_the_history_answers_is_not_told_after_it() -> None:
    reader, told = watcher()
    reader.hold()
    for number in (1, 2):
        reader.offer(Notice("message", MAIN, f"m{number}", {"text": "?"}))
    reader.resume(SessionView(cursor=1, turns=[turn(1)]))
    assert [notice.message_id for notice in told] == ["m2"]


def test_a_frame_is_made_once_for_all_who_are_told() -> None:
    notice = reply(1)
    assert notice.text is notice.text
    assert json.loads(notice.text) == notice.frame

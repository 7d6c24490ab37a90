"""The watcher: what reaches a client, and what does not. The hub itself is tested on the real bus."""

from datetime import UTC, datetime

from opencrust.contracts import SessionView, Turn
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.hub import SEEN, Notice, Watcher, notice_of_turn

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

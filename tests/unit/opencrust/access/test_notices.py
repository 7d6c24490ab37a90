from datetime import UTC, datetime, timedelta

from opencrust.access.notices import MAX_NOTICES, Notice, NoticeBoard
from opencrust.access.people import PersonId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOSS = PersonId(channel="telegram", account="bot", user="1")


def notice(minutes: int = 10) -> Notice:
    return Notice(id="a" * 16, to=BOSS, text="x", expires=NOW + timedelta(minutes=minutes))


def test_expired_notices_leave_the_board() -> None:
    board = NoticeBoard(notices=[notice(-1), notice(0), notice(5)]).with_notice(notice(), NOW)
    assert [one.expires for one in board.notices] == [notice(5).expires, notice().expires]


def test_a_full_board_takes_no_more() -> None:
    board = NoticeBoard()
    for _ in range(MAX_NOTICES + 5):
        board = board.with_notice(notice(), NOW)
    assert len(board.notices) == MAX_NOTICES
    assert len(board.with_notice(notice(60), NOW + timedelta(minutes=10)).notices) == 1

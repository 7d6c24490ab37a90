from opencrust.access.desk import ChannelEntry, PersonEntry
from opencrust.access.people import ChannelPolicy, DmPolicy, GroupPolicy, PersonId, Role
from opencrust_cli.people_checks import judge

ANNA = PersonId(channel="telegram", account="bot", user="1")


def entry(**changes: object) -> PersonEntry:
    return PersonEntry(key=ANNA.key, id=ANNA, role=Role.OPERATOR, active=True).model_copy(update=changes)


def test_a_sound_house_has_nothing_wrong() -> None:
    found = list(judge([entry()], [ChannelEntry(channel="telegram", policy=ChannelPolicy())]))
    assert [(f.ok, f.detail) for f in found] == [(True, "1 on the lists of channels, 1 of them operators")]


def test_who_is_blocked_or_expired_does_not_count() -> None:
    (found,) = judge([entry(active=False)], [])
    assert found.detail == "0 on the lists of channels, 0 of them operators"


def test_a_damaged_record_is_wrong_and_named() -> None:
    (found,) = judge([entry(id=None)], [])
    assert found.ok is False
    assert ANNA.key in found.detail
    assert "remove" in found.advice


def test_an_alarm_is_wrong_and_an_open_channel_is_a_note() -> None:
    opened = ChannelPolicy(dm=DmPolicy.OPEN, group=GroupPolicy.OPEN)
    channels = [
        ChannelEntry(channel="telegram", policy=ChannelPolicy(), wrong_codes=51, alarm=True),
        ChannelEntry(channel="discord", policy=opened),
        ChannelEntry(channel="slack", policy=ChannelPolicy(group=GroupPolicy.OPEN)),
    ]
    found = list(judge([], channels))[1:]
    assert [(f.name, f.ok) for f in found] == [
        ("pairing on telegram", False),
        ("rules of discord", None),
        ("rules of slack", None),
    ]
    assert "51 wrong codes" in found[0].detail
    assert "private messages and groups" in found[1].detail
    assert "--dm pairing --groups mention" in found[1].advice
    assert "in groups" in found[2].detail
    assert "--dm" not in found[2].advice  # closing one thing opens no other

import pytest

from opencrust.channel.text.graphemes import is_border


@pytest.mark.parametrize("whole", ["é", "👩‍🚀", "👍🏽", "🇩🇪", "ก็", "❤️", "\r\n", "각"])
def test_nothing_inside_a_character_is_a_border(whole: str) -> None:
    assert not any(is_border(whole, at) for at in range(1, len(whole)))


def test_flags_pair_up() -> None:
    assert [is_border("🇩🇪🇫🇷", at) for at in range(1, 4)] == [False, True, False]


def test_between_characters_is_a_border() -> None:
    assert all(is_border("aé漢字🙂b", at) for at in (1, 2, 3, 4, 5))

import pytest

from opencrust_cli.supervisor_process import EXIT_SETTINGS, LONGEST_PAUSE, SETTLED_SECONDS, next_pause


def test_the_pause_doubles_up_to_its_bound() -> None:
    pauses = [0.0]
    for _ in range(10):
        pauses.append(next_pause(pauses[-1], 0.0, 1))
    assert pauses[1:4] == [0.1, 0.2, 0.4]
    assert pauses[-1] == LONGEST_PAUSE
    assert pauses == sorted(pauses)


def test_who_lived_long_begins_anew() -> None:
    assert next_pause(LONGEST_PAUSE, SETTLED_SECONDS, 1) == 0.1
    assert next_pause(0.8, SETTLED_SECONDS - 1, 1) == 1.6


@pytest.mark.parametrize("previous", [0.0, 0.1, LONGEST_PAUSE])
def test_wrong_settings_are_tried_again_slowly(previous: float) -> None:
    assert next_pause(previous, 0.0, EXIT_SETTINGS) == LONGEST_PAUSE

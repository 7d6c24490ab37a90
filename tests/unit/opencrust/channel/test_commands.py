"""Which words never reach the agent."""

import pytest

from opencrust.channel.commands import Command, Decide, Redeem, Stop, parse


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/stop", Stop()),
        (" /STOP@crusty_bot ", Stop()),
        ("/pair K7QM-2XPA", Redeem("K7QM-2XPA")),
        ("/start K7QM-2XPA", Redeem("K7QM-2XPA")),
        ("/pair approve k7qm2xpa", Decide("k7qm2xpa", True)),
        ("/pair block K7QM-2XPA", Decide("K7QM-2XPA", False)),
        ("/stop it please", None),
        ("please /stop", None),
        ("/start", None),
        ("/new", None),
        ("/pair", None),
        ("/approve abcdefgh234567ab", None),
        ("", None),
    ],
)
def test_a_command_is_the_whole_text(text: str, command: Command | None) -> None:
    assert parse(text) == command

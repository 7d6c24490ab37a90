"""What is a command and what is a message that only looks like one."""

import pytest

from opencrust_agent.commands import Command, parse


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/new", Command("new")),
        ("  /NEW \n", Command("new")),
        ("/status@my_bot", Command("status")),
        ("/approve abcdefgh23456723", Command("approve", "abcdefgh23456723")),
        ("/deny   abcdefgh23456723 ", Command("deny", "abcdefgh23456723")),
        ("/approve", Command("approve")),
        ("/help", Command("help")),
    ],
)
def test_commands(text: str, command: Command) -> None:
    assert parse(text) == command


@pytest.mark.parametrize(
    "text", ["new", "/news", "/new ideas for dinner?", "/status of the build?", "/pair 123", "say /new", "//new", "/"]
)
def test_messages(text: str) -> None:
    assert parse(text) is None

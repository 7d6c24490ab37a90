"""Where discord.py is let connect."""

import pytest

from opencrust_channel_discord.client import address

ASKED = "?v=10&encoding=json&compress=zstd-stream"
GIVEN = "?v=10&encoding=json&compress=zlib-stream"


@pytest.mark.parametrize(
    ("gateway", "fixed", "url", "expected"),
    [
        ("wss://here/ws", False, "wss://gateway.discord.gg/", "wss://here/ws"),
        ("wss://here/ws", False, "wss://there/", "wss://there/"),
        ("wss://here/ws", True, "wss://there/", "wss://here/ws"),
        ("wss://here", False, "ws://there/", "wss://here/"),  # the token would go there in the clear
        ("ws://here", False, "ws://there:1/x", "ws://there:1/x"),
        ("wss://here", False, "gateway.example", "wss://here/"),
        ("wss://here", False, "https://there/", "wss://here/"),
    ],
)
def test_where_it_connects(gateway: str, fixed: bool, url: str, expected: str) -> None:
    assert address(url + ASKED, gateway, fixed=fixed) == expected + GIVEN

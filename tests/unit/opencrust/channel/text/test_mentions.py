import pytest

from opencrust.channel.text.mentions import JOINER, neutralise


@pytest.mark.parametrize(
    "text",
    ["@everyone", "@here", "<@123>", "<@&5>", "<!channel>", "<#7>", "@someone", "hi @bot_name", "</cmd:1>", "<t:1>"],
)
def test_a_call_gets_a_joiner(text: str) -> None:
    safe = neutralise(text)
    assert safe != text
    assert safe.replace(JOINER, "") == text


@pytest.mark.parametrize("text", ["me@example.org", "a < b", "@", "x @ y", "1 <3"])
def test_other_text_stays(text: str) -> None:
    assert neutralise(text) == text

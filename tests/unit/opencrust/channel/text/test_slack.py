from opencrust.channel.text import SLACK, literal, render


def test_mrkdwn() -> None:
    assert render("# T\n\n**a** *b* ~~c~~ `d<e` [f|g](https://x.org/?a=1&b)\n\n> q", SLACK) == [
        "*T*\n\n*a* _b_ ~c~ `d&lt;e` <https://x.org/?a=1&amp;b|f|g>\n\n> q"
    ]


def test_emphasis_within_a_word() -> None:
    assert render("un**frig**able", SLACK) == ["un\u200b*frig*\u200bable"]


def test_what_has_no_escape_gets_a_look_alike() -> None:
    assert render(literal("*x* _y_ snake_case 2 * 3 `z`"), SLACK) == ["∗x∗ ＿y＿ snake_case 2 * 3 ˋzˋ"]


def test_a_fence_has_no_language() -> None:
    assert render("```python\na<b\n```", SLACK) == ["```\na&lt;b\n```"]


def test_emphasis_ends_at_the_end_of_a_line() -> None:
    assert render("**a\nb**", SLACK) == ["*a*\n*b*"]

"""Whose wish a call is: what the person named, as a whole, and what only looks like it."""

from dataclasses import replace
from typing import Any

import pytest

from opencrust_agent.provenance import Words, places, sink, wish
from opencrust_agent.tools import Effect, ToolSpec

MAIL = ToolSpec(
    "send_mail",
    "",
    {"type": "object", "properties": {"to": {"type": "array"}, "text": {"type": "string"}}},
    frozenset({Effect.SEND}),
    sensitive=frozenset({"to"}),
)
FETCH = ToolSpec(
    "web_fetch",
    "",
    {"type": "object", "properties": {"url": {"type": "string"}}},
    frozenset({Effect.READ}),
    egress="public",
    sensitive=frozenset({"url"}),
)
PAY = ToolSpec(
    "pay",
    "",
    {"type": "object", "properties": {"to": {"type": "string"}, "amount": {"type": "number"}}},
    frozenset({Effect.SPEND}),
    sensitive=frozenset({"to", "amount"}),
)
DELETE = ToolSpec(
    "delete",
    "",
    {"type": "object", "properties": {"path": {"type": "string"}}},
    frozenset({Effect.WRITE}),
    sensitive=frozenset({"path"}),
)


@pytest.mark.parametrize(
    ("said", "value", "named"),
    [
        ("mail it to bob@example.org.", "bob@example.org", True),
        ("mail it to BOB@Example.org, please", "bob@example.org", True),
        ("mail it to (bob@example.org)", "bob@example.org", True),
        ("mail it to notbob@example.org", "bob@example.org", False),
        ("mail it to x-bob@example.org", "bob@example.org", False),
        ("mail it to bob@example.org.evil.test", "bob@example.org", False),
        ("write notes.txt", "notes.txt", True),
        ("write notes.txt.exe", "notes.txt", False),
        ("write a/notes.txt", "notes.txt", False),
        ("pay 50 to Ann", 50, True),
        ("pay 50.75 to Ann", 50, False),
        ("pay 150 to Ann", 50, False),
        ("to\n Ann   Smith", "Ann Smith", True),
        ("bob@example.org and eve", ["bob@example.org", "eve"], True),
        ("bob@example.org", ["bob@example.org", "eve"], False),
        ("anything", "", True),
        ("anything", None, True),
        ("ﬁle", "file", True),
        ("at 12:00 on 2026-05-19, please", "2026-05-19 12:00", True),
        ("at 12:00 on 2026-05-19, please", "2026-05-19T12:00:00", True),
        ("at 12:00 on 2026-05-18, please", "2026-05-19 12:00", False),
        ("Ann or Bob Smith", "Ann Smith", False),
    ],
)
def test_a_name_counts_as_a_whole(said: str, value: object, named: bool) -> None:
    assert Words(said).name(value) is named


def test_earlier_messages_vouch_for_hosts_and_for_no_effect() -> None:
    words = Words("go on", ["look at https://news.example/a and mail bob@example.org"])
    assert not words.name("bob@example.org")
    assert words.name_host("https://news.example/other?page=2")
    assert words.name_host("https://www.news.example/")
    assert not words.name_host("https://evil.news.example/")
    assert not words.name_host("https://example.org/")  # of a mail address, no page
    assert not words.name_host("https://news.example@evil.test/")
    assert not words.name_host("not a url at all [")


def test_what_was_approved_before_is_as_good_as_said() -> None:
    assert Words("x", vouched=["Bob@Example.org"]).name("bob@example.org")


def judged(spec: ToolSpec, arguments: dict[str, Any], said: str, **more: Any) -> tuple[bool, str]:
    found = wish(spec, arguments, Words(said), **more)
    assert found.granted is not bool(found.strange)
    return found.granted, "; ".join(found.strange)


def test_a_call_to_where_the_person_said_is_his_wish() -> None:
    assert judged(MAIL, {"to": ["bob@example.org"], "text": "the summary"}, "mail it to bob@example.org")[0]
    assert judged(PAY, {"to": "Ann Smith", "amount": 50}, "pay 50 to Ann Smith")[0]


def test_a_call_to_elsewhere_is_not() -> None:
    granted, why = judged(MAIL, {"to": ["eve@evil.test"], "text": "x"}, "mail it to bob@example.org")
    assert (granted, why) == (False, "to: not in your message")


def test_a_second_recipient_is_not() -> None:
    assert not judged(MAIL, {"to": ["bob@example.org", "eve@evil.test"], "text": "x"}, "mail it to bob@example.org")[0]


@pytest.mark.parametrize(
    "text",
    [
        "click http://evil.test/a",
        "click evil.test/login now",
        "write to eve@evil.test",
        "call +1 555 123 4567",
        "pay to DE89 3704 0044 0532 0130 00",
        "pay 0x52908400098527886E0F7030069857D2E4169EE7",
    ],
)
def test_a_text_that_sends_the_reader_elsewhere_is_asked_about(text: str) -> None:
    assert places(text)
    granted, why = judged(MAIL, {"to": ["bob@example.org"], "text": text}, "mail a summary to bob@example.org")
    assert (granted, why) == (False, "text: holds an address that is not in your message")


def test_ordinary_prose_names_no_place() -> None:
    assert places("Version 3.11 came out in 2022, e.g. with faster calls. See you on 12/05, at 10:30.") == set()


def test_one_wish_is_one_call() -> None:
    call = {"to": ["bob@example.org"], "text": "x"}
    done = frozenset({sink(MAIL, {**call, "text": "other"})})
    assert not judged(MAIL, call, "mail it to bob@example.org", done=done)[0]


def test_a_file_named_to_be_read_is_not_named_to_be_deleted() -> None:
    said = "summarise report.txt"
    assert judged(DELETE, {"path": "report.txt"}, said)[0]  # nothing read it: it may be meant
    granted, why = judged(DELETE, {"path": "report.txt"}, said, read=frozenset({"report.txt"}))
    assert (granted, why) == (False, "path: you named it to be read")


def test_what_cannot_be_undone_is_nobodys_wish_by_its_name_alone() -> None:
    final = replace(DELETE, irreversible=True)
    assert judged(final, {"path": "report.txt"}, "delete report.txt") == (False, "it cannot be undone")


def test_a_call_that_says_it_replaces_is_asked_about_and_others_are_not() -> None:
    write = replace(DELETE, parameters={"type": "object", "properties": {"path": {}, "replace": {}}},
                    irreversible_if=frozenset({"replace"}))  # fmt: skip
    said = "summarise it into report.txt"
    assert judged(write, {"path": "report.txt"}, said)[0]
    assert judged(write, {"path": "report.txt", "replace": False}, said)[0]
    assert judged(write, {"path": "report.txt", "replace": True}, said) == (False, "it cannot be undone")


def test_the_digits_of_a_moment_are_no_telephone_number_and_nothing_else_passes_for_one() -> None:
    assert places("from 2026-05-15 10:00 to 2026-05-15T11:30:00") == set()
    for text in (
        "+2026-05-15 10:00",
        "+43 2026-05-15 10:00",
        "2026-05-15 10:00 660 123 4567",
        "2026-05-15 10:007 123 456 7",
        "6601-23-45 67:89",
        "https://evil.example/2026-05-15T10:00",
        "2026-05-15 10:00@evil.example",
    ):
        assert places(text), text
    assert places("https://evil.example/2026-05-15T10:00") == {"https://evil.example/2026-05-15T10:00"}
    granted, why = judged(MAIL, {"to": ["bob@example.org"], "text": "call 660 123 4567"}, "mail it to bob@example.org")
    assert (granted, why) == (False, "text: holds an address that is not in your message")


def test_a_number_alone_proves_nothing() -> None:
    assert not judged(DELETE, {"path": "13"}, "what is on the 13 of May?")[0]


def test_a_tool_without_sensitive_arguments_has_only_such() -> None:
    run = ToolSpec(
        "run", "", {"type": "object", "properties": {"command": {"type": "string"}}}, frozenset({Effect.EXEC})
    )
    assert not judged(run, {"command": "ls"}, "please list the files")[0]
    assert judged(run, {"command": "ls -l"}, "please run ls -l for me")[0]


def test_reading_from_a_host_that_was_named_is_a_wish() -> None:
    assert judged(FETCH, {"url": "https://news.example/x?q=1"}, "what is new on news.example?")[0]
    assert not judged(FETCH, {"url": "https://evil.test/?q=secret"}, "what is new on news.example?")[0]


def test_nobody_without_rights_has_wishes() -> None:
    assert not wish(MAIL, {"to": ["bob@example.org"], "text": "x"}, Words("")).granted

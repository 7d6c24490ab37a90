"""The question: the same words for the same permissions, and everything that changed."""

from datetime import UTC, datetime

import pytest

from guests import TOOLS, manifest
from opencrust.contracts.plugins import PluginGrant
from opencrust_agent.plugins import consent, description
from opencrust_agent.plugins.manifest import read

HTTP = '[[http]]\nhost = "api.example.com"\n'
CREDENTIAL = '[[credentials]]\nhandle = "key"\nkind = "bearer"\nhost = "api.example.com"\n'


def asked(more: str = "", signer: str = "") -> list[str]:
    wanted = read(manifest(more=more))
    import json

    return consent.sentences(wanted, description.read(json.dumps(TOOLS), wanted), signer)


def test_one_that_only_computes_says_so_and_nothing_else() -> None:
    said = asked()
    assert said[0].startswith("It can compute with what a call gives it, and nothing else")
    assert not any("may" in sentence for sentence in said if "A call may take" not in sentence)
    assert said[-1] == "It is not signed: nothing says who made it, nor who makes the next version."


def test_hosts_secrets_and_stores_are_named() -> None:
    said = asked(HTTP + CREDENTIAL + "[kv]\nmax_kib = 8\n", signer="abcd")
    assert said[0].startswith("It may read from api.example.com (https)")
    assert "plugin.guest.key" in said[1]
    assert "never sees it" in said[1]
    assert "8 KiB" in said[2]
    assert "abcd" in said[-1]


def test_changes_begin_with_the_loud_ones() -> None:
    old = PluginGrant(
        version="1.0.0", wasm="0" * 64, size=1, manifest="", description="0" * 64, consent="0" * 64, signer="abcd",
        tools=[], permissions=asked(), at=datetime.now(UTC),
    )  # fmt: skip
    found = consent.changes(old, "1.0.0", asked(HTTP), "")
    assert found[0].startswith("CAREFUL: version 1.0.0 was signed")
    assert "another component" in found[1]
    assert any(line.startswith("New: It may read from api.example.com") for line in found)
    assert any(line.startswith("No longer: It can compute") for line in found)


def test_every_part_is_part_of_what_is_agreed_to() -> None:
    parts = ["a", "b", "c", "d"]
    digests = {consent.digest(*parts)}
    for number in range(4):
        digests.add(consent.digest(*[part if n != number else "x" for n, part in enumerate(parts)]))
    assert len(digests) == 5


@pytest.mark.parametrize(("one", "two", "is_older"), [("1.9.0", "1.10.0", True), ("2.0.0", "1.9.9", False), ("1.0.0", "1.0.0", False)])  # fmt: skip  # noqa: E501
def test_versions_are_compared_number_by_number(one: str, two: str, is_older: bool) -> None:
    assert consent.older(one, two) is is_older


def test_what_a_tool_says_of_itself_stands_in_quotes_that_it_cannot_close() -> None:
    import json

    own = "Adds.” It is signed by OpenCrust.\n- It cannot connect to anything.\x1b[2J\u202e" + "x" * 900
    tools = {"tools": [{**TOOLS["tools"][0], "description": own}]}
    wanted = read(manifest())
    said = consent.sentences(wanted, description.read(json.dumps(tools), wanted), "")
    line = next(sentence for sentence in said if sentence.startswith("Tool echo"))
    assert line.startswith("Tool echo: looks things up. In its own words: “Adds.' It is signed by OpenCrust. - It")
    assert line.count("“") == line.count("”") == 1
    assert line.endswith("…”")
    assert line.isprintable()
    assert len(line) < 1000


def grant(version: str = "1.0.0", signer: str = "abcd") -> PluginGrant:
    return PluginGrant(
        version=version, wasm="0" * 64, size=1, manifest="", description="0" * 64, consent="0" * 64, signer=signer,
        tools=[], permissions=asked(signer=signer), at=datetime.now(UTC),
    )  # fmt: skip


def test_a_key_is_trusted_on_first_use_and_the_words_say_so() -> None:
    assert "Nobody vouches for this key" in asked(signer="abcd")[-1]
    assert "Later versions must be signed by it" in asked(signer="abcd")[-1]
    again = consent.sentences(read(manifest()), [], "abcd", known=True)
    assert again[-1] == "Signed by the key abcd, which signed the installed version too."
    assert not any("Signed" in line for line in consent.changes(grant(), "1.1.0", again, "abcd")), "no news"


@pytest.mark.parametrize(
    ("old", "new", "other"),
    [
        ("abcd", "abcd", False),
        ("abcd", "", True),
        ("abcd", "efgh", True),
        ("", "", False),
        ("", "abcd", False),
    ],
)
def test_other_hands(old: str, new: str, other: bool) -> None:
    assert consent.new_signer(grant(signer=old), new) is other
    assert any("CAREFUL" in line for line in consent.changes(grant(signer=old), "1.1.0", [], new)) is other


def test_an_older_version_is_a_loud_change() -> None:
    assert consent.changes(grant("1.2.0"), "1.1.9", [], "abcd")[0].startswith("CAREFUL: 1.1.9 is older")

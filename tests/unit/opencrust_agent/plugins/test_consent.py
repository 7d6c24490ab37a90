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
    assert said[-1] == "It is not signed: nothing says who made it."


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

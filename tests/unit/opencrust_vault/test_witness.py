import json

import pytest

from opencrust.credentials.errors import Untrusted
from opencrust.identity.ca import Authority
from opencrust_vault import witness
from opencrust_vault.audit import Head
from opencrust_vault.witness import Witness
from simulators.vault_desk import Party

AUTHORITY = Authority.create()
VAULT = Party(AUTHORITY, "vault")
NOW = int(VAULT.certificate.not_valid_before_utc.timestamp() * 1000) + 600_000
SEEN = Witness("0" * 32, 7, Head(12, "ab" * 32), NOW)
TRUSTED = (AUTHORITY.certificate,)


def test_it_reads_what_it_signed() -> None:
    assert witness.read(witness.sign(SEEN, VAULT.key, VAULT.der), TRUSTED) == SEEN


def test_only_a_vault_of_this_house_is_believed() -> None:
    agent, stranger = Party(AUTHORITY, "agent"), Party(Authority.create(), "vault")
    for party in (agent, stranger):
        with pytest.raises(Untrusted):
            witness.read(witness.sign(SEEN, party.key, party.der), TRUSTED)


def test_the_certificate_must_have_been_valid_then() -> None:
    for time in (NOW - 3_600_000, NOW + 90_000_000):
        late = Witness(SEEN.vault_id, SEEN.generation, SEEN.head, time)
        with pytest.raises(Untrusted):
            witness.read(witness.sign(late, VAULT.key, VAULT.der), TRUSTED)


def test_changed_or_malformed_records_are_refused() -> None:
    data = witness.sign(SEEN, VAULT.key, VAULT.der)
    record = json.loads(data)
    lowered = json.dumps({**record, "head": record["head"].replace('"generation":7', '"generation":6')}).encode()
    assert lowered != data
    for changed in (lowered, b"", b"[]", b"{}", json.dumps({**record, "signature": "!"}).encode(), data[:-9]):
        with pytest.raises(Untrusted):
            witness.read(changed, TRUSTED)

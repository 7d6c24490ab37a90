"""The generated documents: complete, valid as JSON Schema, and not drifted."""

import json
from pathlib import Path

import jsonschema
import pytest

from opencrust.bus import subjects
from opencrust.contracts import InboundMessage
from opencrust.contracts.__main__ import main
from opencrust.contracts.documents import CHANNELS, asyncapi, documents

ROOT = Path(__file__).parents[4]


def test_the_committed_documents_are_the_generated_ones() -> None:
    assert main(["--check", str(ROOT / "docs" / "contracts")]) == 0


def test_drift_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "Left.schema.json").write_text("{}")
    assert main(["--check", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "asyncapi.json" in said
    assert "Left.schema.json" in said


def test_every_template_is_documented() -> None:
    assert {doc.template for doc in CHANNELS} == set(subjects.TEMPLATES)


def test_the_schema_accepts_what_the_model_writes() -> None:
    schema = json.loads(documents()["InboundMessage.schema.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    message = {
        "v": 1, "id": "1", "channel": "web", "account": "a", "conversation": "c", "text": "hi",
        "sender": {"channel": "web", "account": "a", "user": "u"},
        "reply_to": {"channel": "web", "account": "a", "conversation": "c"},
        "platform_time": "2026-11-22T10:00:00Z", "received_time": "2026-11-22T10:00:00Z",
    }  # fmt: skip
    jsonschema.validate(InboundMessage.model_validate(message).model_dump(mode="json"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message | {"channel": "Web!"}, schema)


def test_operations_follow_the_permissions() -> None:
    operations = asyncapi()["operations"]
    assert isinstance(operations, dict)
    assert "gateway.send.msg.in" in operations
    assert "agent.send.msg.out" in operations
    assert "vault.send.msg.in" not in operations
    assert "vault.receive.vault.req" in operations
    assert [name for name in operations if name.endswith("send.vault.rotated")] == ["vault.send.vault.rotated"]

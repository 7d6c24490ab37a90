import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from opencrust.contracts import TurnEvent
from opencrust_gateway import asyncapi, frames
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.errors import ApiError
from opencrust_gateway.notices import notice_of_event
from opencrust_gateway.permissions import OPERATIONS

FILE = Path(__file__).parents[3] / asyncapi.FILE


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def test_the_committed_document_is_what_the_code_says(document: dict[str, Any]) -> None:
    """After a change: PYTHONPATH=shared:services/gateway python -m opencrust_gateway.asyncapi."""
    assert document == asyncapi.document()


def test_every_operation_is_in_it_and_its_parameters_are_those_that_are_read(document: dict[str, Any]) -> None:
    assert asyncapi.PARAMS.keys() == OPERATIONS.keys()
    messages = document["channels"]["socket"]["messages"]
    for op, model in asyncapi.PARAMS.items():
        assert messages[f"req.{op}"]["payload"]["properties"]["params"]["$ref"].endswith(model.__name__)
        with pytest.raises(ApiError):
            frames.parse_params(model, {"surprise": 1})


def test_an_event_is_as_the_document_says(document: dict[str, Any]) -> None:
    event = TurnEvent(type="delta", message_id="m", index=3, text="Hel")  # type: ignore[arg-type]
    frame = notice_of_event(Conversation("operator", "main"), event).frame
    jsonschema.validate(frame, document["channels"]["socket"]["messages"]["event.delta"]["payload"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(frame, document["channels"]["socket"]["messages"]["event.reply"]["payload"])

import json
from pathlib import Path

import jsonschema
import pytest

from opencrust.bus import Bus
from opencrust_gateway import openapi
from opencrust_gateway.app import Gateway
from opencrust_gateway.permissions import ROUTES
from opencrust_gateway.settings import GatewaySettings

FILE = Path(__file__).parents[3] / openapi.FILE


async def test_the_committed_document_is_what_the_code_says() -> None:
    """After a change: PYTHONPATH=shared:services/gateway python -m opencrust_gateway.openapi."""
    assert FILE.read_text() == openapi.text(Gateway(Bus("gateway"), GatewaySettings()).handlers())


def test_every_route_below_v1_is_in_it_with_a_sentence() -> None:
    document = json.loads(FILE.read_text())
    for route in ROUTES:
        if route.path.startswith("/v1/") and route.path != "/v1/ws":
            assert document["paths"][route.path][route.method.lower()]["summary"]
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))


def test_its_schemas_are_schemas() -> None:
    for schema in json.loads(FILE.read_text())["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_difference_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/contracts/gateway").mkdir(parents=True)
    assert openapi.main(["--check"]) == 1
    assert openapi.main([]) == 0
    assert openapi.main(["--check"]) == 0

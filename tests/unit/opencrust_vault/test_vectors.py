"""The public vectors, against the product and against a second reader that shares no code with it."""

import base64
from pathlib import Path
from typing import Any

import pytest

from opencrust_vault import errors, files
from vectors.vault import reader
from vectors.vault.run import VECTORS, read_with_product


def expected(vector: dict[str, Any]) -> dict[str, dict[int, bytes]]:
    return {
        name: {int(number): base64.b64decode(value) for number, value in versions.items()}
        for name, versions in vector["secrets"].items()
    }


def test_there_are_enough_of_them() -> None:
    assert sum(vector["expect"] != "opens" for vector in VECTORS) >= 40
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_product_agrees(vector: dict[str, Any], path: Path, anchor_path: Path) -> None:
    if vector["expect"] == "opens":
        assert read_with_product(vector, path, anchor_path) == expected(vector)
        return
    with pytest.raises(getattr(errors, vector["expect"])):
        read_with_product(vector, path, anchor_path)
    assert files.read_private(path, limit=1 << 20) == base64.b64decode(vector["file"]), "a refused file stays as it is"


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_second_reader_agrees(vector: dict[str, Any]) -> None:
    anchor = None if vector["anchor"] is None else base64.b64decode(vector["anchor"])
    if vector["expect"] == "opens":
        assert reader.read(base64.b64decode(vector["file"]), vector["unlock"], anchor) == expected(vector)
        return
    with pytest.raises(reader.Refused):
        reader.read(base64.b64decode(vector["file"]), vector["unlock"], anchor)

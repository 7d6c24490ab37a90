"""The shipped detector, loaded once: it keeps nothing between texts."""

import pytest

from opencrust_agent.assess import Assessor, load


@pytest.fixture(scope="session")
def assessor() -> Assessor:
    return load()

"""From configuration to the model that answers."""

import logging

import pytest

from opencrust.config import AgentSettings, Provider, ProviderKind, Providers
from opencrust_agent.demo import LABEL, MODEL, DemoModel
from opencrust_agent.models import PRESETS, Chain, Credential, Transport
from opencrust_agent.providers import make_mind
from opencrust_agent.turn import Mind


async def no_lease(name: str) -> Credential:
    raise AssertionError(f"nothing may be leased before a request: {name}")


async def mind(*providers: Provider) -> Mind:
    async with Transport() as transport:
        demo = DemoModel(transport)
        made = make_mind(
            Providers(providers=providers), AgentSettings(), transport=transport, lease=no_lease, demo=demo
        )
        await demo.close()
        return made


def test_the_kinds_that_can_be_configured_are_those_that_can_be_spoken() -> None:
    assert {kind.value for kind in ProviderKind} == set(PRESETS)


async def test_without_a_provider_the_demo_answers_and_says_so() -> None:
    made = await mind()
    assert isinstance(made.model, DemoModel)
    assert made.label("anything") == LABEL


async def test_providers_answer_in_their_order() -> None:
    first = Provider(name="a", kind=ProviderKind.OPENAI, base_url="http://127.0.0.1:1", model="m1")
    second = Provider(name="b", kind=ProviderKind.OLLAMA, model="m2", max_tokens=4096)
    made = await mind(first, second)
    assert isinstance(made.model, Chain)
    assert [entry["model"] for entry in made.model.snapshot()] == ["m1", "m2"]
    assert made.max_tokens == 4096
    assert made.label("m1") == "m1"
    assert made.label(MODEL) == LABEL


async def test_a_wrong_provider_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    keyless = Provider(name="a", kind=ProviderKind.ANTHROPIC, model="m")
    with caplog.at_level(logging.ERROR):
        made = await mind(keyless)
    assert isinstance(made.model, DemoModel)
    assert "needs a key" in caplog.text

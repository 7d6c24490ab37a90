"""From what a person configured to the model that answers: a chain of providers, or the demo where there is none."""

import logging
from collections.abc import Awaitable, Callable

from opencrust.config import AgentSettings, Provider, ProviderKind, Providers
from opencrust_agent.demo import LABEL, MODEL, DemoModel
from opencrust_agent.egress import Allowed
from opencrust_agent.ledger.prices import Prices
from opencrust_agent.models import Chain, Credential, CredentialSource, HttpModel, Model, Transport, endpoint
from opencrust_agent.turn import Mind

log = logging.getLogger(__name__)

HISTORY = 48_000
"""Characters of history for a provider's model: some 12,000 tokens, which every current one takes."""
DEMO_HISTORY = 2_000
DEMO_MAX_TOKENS = 256
REFERENCE = "vault:"
AT_HOME = (ProviderKind.DEMO, ProviderKind.OLLAMA, ProviderKind.VLLM, ProviderKind.LMSTUDIO)
"""Kinds that run on the person's own machine: they cost nothing."""

Lease = Callable[[str], Awaitable[Credential]]
"""Fetches a credential by its name in the vault."""


def make_mind(
    providers: Providers, settings: AgentSettings, *, transport: Transport, lease: Lease, demo: Model
) -> Mind:
    """The model of the moment.

    A provider that is configured wrongly is left out with an error in the log; if none is left, ``demo`` answers.
    """
    models: list[Model] = []
    for provider in providers.providers:
        try:
            models.append(demo if provider.kind is ProviderKind.DEMO else _model(provider, transport, lease))
        except ValueError as error:
            log.error("provider left out: %s", error)
    if not models or models == [demo]:
        plain = settings.model_copy(
            update={"instructions": "", "persona": ""}
        )  # the demo brings its own: it follows no other
        return Mind(
            demo,
            plain,
            DEMO_MAX_TOKENS,
            DEMO_HISTORY,
            lambda _: LABEL,
            _allowed(settings),
            Prices(settings.budgets, (DemoModel.provider,)),
        )
    limit = max(provider.max_tokens for provider in providers.providers)
    free = [DemoModel.provider, *(provider.name for provider in providers.providers if provider.kind in AT_HOME)]
    return Mind(Chain(models), settings, limit, HISTORY, _label, _allowed(settings), Prices(settings.budgets, free))


def _allowed(settings: AgentSettings) -> Allowed:
    """What the operator allows tools to reach; nothing of it where a line cannot be read."""
    try:
        return Allowed(settings.egress.allow)
    except ValueError as error:
        log.error("agent.egress.allow is not used: %s", error)
        return Allowed()


def _label(model: str) -> str:
    return LABEL if model == MODEL else model


def _model(provider: Provider, transport: Transport, lease: Lease) -> Model:
    return HttpModel(
        endpoint(
            provider.name,
            kind=provider.kind,
            model=provider.model,
            base_url=provider.base_url,
            credential=_source(provider.credential, lease),
            max_output_tokens=provider.max_tokens,
            vision=provider.vision,
        ),
        transport,
    )


def _source(reference: str | None, lease: Lease) -> CredentialSource | None:
    if reference is None:
        return None
    name = reference.removeprefix(REFERENCE)

    async def fetch() -> Credential:
        return await lease(name)

    return fetch

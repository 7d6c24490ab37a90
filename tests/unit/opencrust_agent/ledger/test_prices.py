"""What models cost."""

import pytest

from opencrust.config.budgets import BudgetSettings, Price
from opencrust_agent.ledger import Prices
from opencrust_agent.ledger.prices import shipped


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic/claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("mistral-large-latest", "mistral-large"),
        ("gpt-4o-audio-thing", None),
        ("my-own-model", None),
        ("gpt-4", None),
    ],
)
def test_a_name_with_a_version_is_the_model_and_a_longer_name_is_another(model: str, known: str | None) -> None:
    price = Prices(BudgetSettings()).price(model)
    assert (price.model if price else None) == known


def test_a_price_is_known_or_stated_unknown_and_home_is_free() -> None:
    prices = Prices(BudgetSettings(), ["ollama"])
    assert prices.cost("openai", "gpt-4o", 1_000_000, 100_000) == 3_500_000
    assert prices.cost("openai", "gpt-4o", 1_000_000, 0, cached=1_000_000) == 1_250_000
    assert prices.cost("openai", "mystery", 10, 10) is None
    assert prices.cost("ollama", "mystery", 10, 10) == 0


def test_the_persons_price_comes_first_and_another_currency_drops_the_table() -> None:
    own = BudgetSettings(prices=(Price(model="gpt-4o*", input=1, output=2),))
    assert Prices(own).cost("x", "gpt-4o-mini", 1_000_000, 1_000_000) == 3_000_000
    euro = BudgetSettings(prices=own.prices, currency="EUR")
    assert Prices(euro).cost("x", "gpt-5", 1, 1) is None


def test_the_table_says_when_and_where_from() -> None:
    assert {"as_of", "source", "currency", "models"} <= set(shipped())
    assert all(len(row) == 3 and min(row) >= 0 for row in shipped()["models"].values())

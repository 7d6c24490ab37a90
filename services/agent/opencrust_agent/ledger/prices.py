"""What a model costs. The person's prices first, then the shipped table (``prices.json``, with its date and source).

A price that nobody knows is *unknown*, never zero: the account says how many calls it is missing, and limits in tokens
hold all the same. What runs on the person's own machine costs nothing.
"""

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Any

from opencrust.config.budgets import BudgetSettings, Price

_VERSION = re.compile(r"-(latest|preview.*|exp.*|v?\d[\d.-]*)|[:@].*")
"""What a provider puts behind a model's name: a date, a number."""


class Prices:
    """The prices of the moment.

    Args:
        budgets: with the person's own.
        free: names of providers that run at home.
    """

    def __init__(self, budgets: BudgetSettings, free: Iterable[str] = ()) -> None:
        self._own = budgets.prices
        self._free = frozenset(free)
        self._shipped = shipped()["models"] if budgets.currency == shipped()["currency"] else {}

    def cost(self, provider: str, model: str, input_tokens: int, output_tokens: int, cached: int = 0) -> int | None:
        """Millionths of the currency, rounded up; None where the price is not known."""
        price = self.price(model)
        if price is None:
            return 0 if provider in self._free else None
        full = max(input_tokens - cached, 0)
        rate = price.input if price.cached is None else price.cached
        # money per million tokens is millionths of money per token
        return ceil(full * price.input + cached * rate + output_tokens * price.output)

    def price(self, model: str) -> Price | None:
        """The price of a model by its name, with or without a maker before it and a version behind it."""
        for price in self._own:
            if fnmatchcase(model.lower(), price.model.lower()):
                return price
        name = model.lower().rpartition("/")[2]
        for known in sorted(self._shipped, key=len, reverse=True):
            if name == known or (name.startswith(known) and _VERSION.fullmatch(name[len(known) :])):
                plain, output, cached = self._shipped[known]
                return Price(model=known, input=plain, output=output, cached=cached)
        return None


@cache
def shipped() -> Any:
    """The table as it is shipped."""
    return json.loads((files("opencrust_agent.ledger") / "prices.json").read_text())

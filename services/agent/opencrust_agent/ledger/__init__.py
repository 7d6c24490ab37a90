"""The ledger: one account of everything that costs something, for all replicas, paths and providers.

    Metered          a model that reserves before each attempt and settles after it: answers, rounds of tools,
                     summaries, retries and fallbacks alike
    MeteredTools     the same for tool calls
    Ledger           reserve → settle, by compare-and-set in the bucket ``usage``; many of them in one write
    Book             the arithmetic: a day's rows, holds and limits (pure)
    Prices           what a model costs; unknown where nobody knows

A call is made only when what it may cost at most fits every limit beside what is spent and reserved already. A worker
that dies leaves its reservation, which expires.
"""

from opencrust_agent.ledger.book import Book, Demand, OverBudget, Payer, Spent
from opencrust_agent.ledger.ledger import Ledger
from opencrust_agent.ledger.metered import Metered, MeteredTool, MeteredTools, payer_of
from opencrust_agent.ledger.prices import Prices

__all__ = [
    "Book",
    "Demand",
    "Ledger",
    "Metered",
    "MeteredTool",
    "MeteredTools",
    "OverBudget",
    "Payer",
    "Prices",
    "Spent",
    "payer_of",
]

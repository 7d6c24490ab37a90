"""The ledger on the real bus: replicas, every path of the agent, and a budget of nothing."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import BusServer
from opencrust.bus import Bus
from opencrust.config import AgentSettings, Configuration, Provider, ProviderKind
from opencrust.config.budgets import BudgetSettings, Limit, Price
from opencrust.contracts import Finish
from opencrust.usage import read_days, report
from opencrust_agent.ledger import Demand, Ledger, Metered, MeteredTool, OverBudget, Payer, Prices, Spent
from opencrust_agent.models import (
    Chain,
    ErrorKind,
    HttpModel,
    ModelError,
    Request,
    RetryPolicy,
    Transport,
    endpoint,
    user,
)
from opencrust_agent.tools import Effect, ToolContext, ToolResult, ToolSpec
from simulators.conversation import Talk, agent, inbound
from simulators.model import ModelSimulator

PAYER = Payer("web:operator:operator", "web")
NOTHING = BudgetSettings(limits=(Limit(tokens=0),))


async def test_replicas_that_spend_at_the_same_time_never_pass_a_limit_and_lose_nothing(bus_server: BusServer) -> None:
    budgets = BudgetSettings(limits=(Limit(tokens=1000),))
    ledgers = [Ledger(await bus_server.connect("agent"), lambda: budgets) for _ in range(3)]

    async def spend(ledger: Ledger) -> int:
        try:
            hold = await ledger.reserve(PAYER, Demand(tokens=10))
        except OverBudget:
            return 0
        await asyncio.sleep(0)
        await ledger.settle(hold, Spent("m", "p", 6, 4))
        return 10

    spent = await asyncio.gather(*(spend(ledgers[number % 3]) for number in range(150)))
    (day,) = await read_days(await bus_server.connect("gateway"), 1)
    assert sum(spent) == sum(row.input_tokens + row.output_tokens for row in day.rows) <= 1000
    assert sum(spent) > 800
    assert day.holds == {}
    assert day.refused == spent.count(0)


async def test_a_reservation_of_a_dead_worker_counts_until_it_expires(bus_server: BusServer) -> None:
    budgets = BudgetSettings(limits=(Limit(tokens=10),))
    clock = [datetime(2026, 5, 1, 12, tzinfo=UTC)]
    dead = Ledger(await bus_server.connect("agent"), lambda: budgets, lambda: clock[0])
    await dead.reserve(PAYER, Demand(tokens=10), seconds=60)
    other = Ledger(await bus_server.connect("agent"), lambda: budgets, lambda: clock[0])
    with pytest.raises(OverBudget):
        await other.reserve(PAYER, Demand(tokens=1))
    clock[0] += timedelta(seconds=61)
    await other.reserve(PAYER, Demand(tokens=10))


def chain(simulator: ModelSimulator, transport: Transport, *models: str) -> Chain:
    made = [
        HttpModel(endpoint(f"p{n}", kind="openai", base_url=simulator.url, model=model), transport)
        for n, model in enumerate(models)
    ]
    return Chain(made, RetryPolicy(attempts=2, pause=0.01))


async def ask(model: Metered) -> str:
    async with aclosing(model.stream(Request("be brief", (user("hello"),), max_tokens=50))) as events:
        return "".join([getattr(event, "text", "") async for event in events if type(event).__name__ == "TextDelta"])


async def test_every_attempt_is_reserved_and_settled_retries_and_fallbacks_too(bus_server: BusServer) -> None:
    prices = Prices(BudgetSettings(prices=(Price(model="*", input=1, output=1),)))
    bus = await bus_server.connect("agent")
    async with ModelSimulator() as simulator, Transport() as transport:
        ledger = Ledger(bus, BudgetSettings)
        model = Metered(chain(simulator, transport, "500", "truncate", "echo"), ledger, lambda: prices, PAYER)
        await ask(model)
        sent = len(simulator.requests)
    (day,) = await read_days(bus, 1)
    assert sum(row.calls for row in day.rows) == sent == 5
    rows = {row.name: row for row in day.rows}
    assert rows["500"].input_tokens == 0
    assert rows["truncate"].estimated == 2
    assert rows["echo"].input_tokens > 0
    assert rows["echo"].micros == rows["echo"].input_tokens + rows["echo"].output_tokens
    assert day.holds == {}


async def test_a_limit_in_the_middle_ends_the_retries(bus_server: BusServer) -> None:
    bus = await bus_server.connect("agent")
    async with ModelSimulator() as simulator, Transport() as transport:
        budgets = BudgetSettings(limits=(Limit(tokens=200),))
        model = Metered(chain(simulator, transport, "truncate", "echo"), Ledger(bus, lambda: budgets),
                        lambda: Prices(budgets), PAYER)  # fmt: skip
        with pytest.raises(ModelError) as failure:
            await ask(model)
        assert failure.value.kind is ErrorKind.BUDGET
        assert 1 <= len(simulator.requests) < 3


async def test_a_call_that_is_stopped_is_counted(bus_server: BusServer) -> None:
    bus = await bus_server.connect("agent")
    async with ModelSimulator() as simulator, Transport() as transport:
        model = Metered(chain(simulator, transport, "stall"), Ledger(bus, BudgetSettings),
                        lambda: Prices(BudgetSettings()), PAYER)  # fmt: skip
        asking = asyncio.create_task(ask(model))
        while not simulator.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    for _ in range(50):
        (day,) = await read_days(bus, 1)
        if not day.holds:
            break
        await asyncio.sleep(0.02)
    assert day.holds == {}
    assert [row.calls for row in day.rows] == [1]


class Lamp:
    """A tool that would cost something."""

    spec = ToolSpec("lamp", "switches a lamp", {"type": "object"}, frozenset({Effect.WRITE}))

    def __init__(self) -> None:
        self.switched = 0

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        self.switched += 1
        return ToolResult("done")


async def test_tool_calls_have_a_budget(bus_server: BusServer) -> None:
    message = inbound(1, "x")
    context = ToolContext(message.reply_to, message.sender, message.trust, "c", 0, asyncio.Event())
    budgets = BudgetSettings(limits=(Limit(per="user", tool_calls=2),))
    bus, lamp = await bus_server.connect("agent"), Lamp()
    tool = MeteredTool(lamp, Ledger(bus, lambda: budgets))
    results = [await tool.call({}, context) for _ in range(3)]
    assert [result.failed for result in results] == [False, False, True]
    assert "2 tool calls a day for user web:operator:operator is used up" in results[2].text
    assert lamp.switched == 2
    summed = report(await read_days(bus, 1), budgets)
    assert summed["tools"][0]["tool_calls"] == 2
    assert summed["days"][0]["refused"] == 1


async def configure(bus: Bus, simulator: ModelSimulator, budgets: BudgetSettings, *models: str) -> None:
    providers = tuple(
        Provider(name=f"p{n}", kind=ProviderKind.OPENAI, base_url=simulator.url, model=model)
        for n, model in enumerate(models)
    )
    for key, value in Configuration(providers=providers, agent=AgentSettings(budgets=budgets)).for_services().items():
        await bus.kv("cfg").put(key, value)


async def test_a_budget_of_nothing_spends_nothing_on_any_path_and_says_so(
    bus_server: BusServer, tmp_path: Path
) -> None:
    """Chat, fallback, and a history that is due for a summary: not one request reaches a provider."""
    provisioner = await bus_server.connect("provisioner")
    async with ModelSimulator() as simulator:
        await configure(provisioner, simulator, BudgetSettings(), "echo", "echo")
        async with agent(bus_server, tmp_path):
            talk = Talk(await bus_server.connect("gateway"))
            await talk.start()
            for number in range(30):
                await talk.say(inbound(number, f"message {number} " + "long " * 10))
                assert (await talk.hear()).finish is Finish.COMPLETE
            before = len(simulator.requests)
            assert before >= 30
            await configure(provisioner, simulator, NOTHING, "500", "echo")
            await asyncio.sleep(0.3)
            for number in range(30, 33):
                await talk.say(inbound(number, "and now? " + "long " * 1000))
                reply = await talk.hear()
                assert reply.finish is Finish.FAILED
                assert "the budget of 0 tokens a day for everybody together" in reply.text
            assert len(simulator.requests) == before
            (day,) = await read_days(await bus_server.connect("cli"), 1)
            assert sum(row.calls for row in day.rows) == before
            assert day.refused >= 3
            assert day.rows[0].user == "web:operator:operator"

"""The ledger on the real bus: replicas, every path of the agent, and a budget of nothing."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import BusServer
from opencrust.bus import Bus
from opencrust.config import AgentSettings, Configuration, PolicySettings, Provider, ProviderKind
from opencrust.config.budgets import BudgetSettings, Limit, Price
from opencrust.config.policy import Answer, Rule
from opencrust.contracts import Finish, InboundMessage, Trust
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
from simulators.model_replies import Call, Reply

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


async def configure(
    bus: Bus, simulator: ModelSimulator, budgets: BudgetSettings, *models: str, policy: PolicySettings | None = None
) -> None:
    providers = tuple(
        Provider(name=f"p{n}", kind=ProviderKind.OPENAI, base_url=simulator.url, model=model)
        for n, model in enumerate(models)
    )
    settings = AgentSettings(budgets=budgets, policy=policy or PolicySettings())
    for key, value in Configuration(providers=providers, agent=settings).for_services().items():
        await bus.kv("cfg").put(key, value)


def of_owner(number: int, text: str, conversation: str = "main") -> InboundMessage:
    return inbound(number, text, conversation).model_copy(update={"trust": Trust.OWNER, "may_approve": True})


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


async def test_a_budget_of_nothing_makes_no_summary(bus_server: BusServer, tmp_path: Path) -> None:
    """Two conversations that are due for one: while there is a budget it is made, without it nothing is sent."""
    provisioner = await bus_server.connect("provisioner")
    async with ModelSimulator() as simulator:
        await configure(provisioner, simulator, BudgetSettings(), "echo")
        async with agent(bus_server, tmp_path):
            talk = Talk(await bus_server.connect("gateway"))
            await talk.start()
            for number, conversation in enumerate(("paid", "paid", "free", "free")):
                await talk.say(of_owner(number, "long " * 2000, conversation))
                assert (await talk.hear()).finish is Finish.COMPLETE
            await talk.say(of_owner(10, "and now?", "paid"))
            assert (await talk.hear()).finish is Finish.COMPLETE
            asked = [received.body["messages"][0]["content"] for received in simulator.requests]
            assert [text.startswith("Summarise") for text in asked] == [False, False, False, False, True, False]
            await configure(provisioner, simulator, NOTHING, "echo")
            await asyncio.sleep(0.3)
            await talk.say(of_owner(11, "and now?", "free"))
            assert (await talk.hear()).finish is Finish.FAILED
            assert len(simulator.requests) == len(asked)


FILE = Call("file_write", {"path": "note.txt", "text": "hello"})


async def test_a_budget_of_nothing_runs_no_tool_and_asks_no_further(bus_server: BusServer, tmp_path: Path) -> None:
    """No tool calls left: the tool does not run, the model hears why. No seconds left: nor is the model asked again."""
    provisioner = await bus_server.connect("provisioner")
    async with ModelSimulator() as simulator:
        simulator.queue(Reply(calls=(FILE,)), Reply("I may not."))
        await configure(provisioner, simulator, BudgetSettings(limits=(Limit(tool_calls=0),)), "m")
        async with agent(bus_server, tmp_path):
            talk = Talk(await bus_server.connect("gateway"))
            await talk.start()
            await talk.say(of_owner(1, "write hello into note.txt"))
            assert (await talk.hear()).text == "I may not."
            assert "0 tool calls a day" in str(simulator.requests[-1].body["messages"][-1])
            assert list(tmp_path.rglob("note.txt")) == []
            assert len(simulator.requests) == 2


async def test_what_waits_for_an_approval_spends_nothing_either_once_the_budget_is_nothing(
    bus_server: BusServer, tmp_path: Path
) -> None:
    provisioner = await bus_server.connect("provisioner")
    policy = PolicySettings(rules=(Rule(then=Answer.ASK, tools=("file_write",)),))
    nothing = BudgetSettings(limits=(Limit(tokens=0), Limit(tool_calls=0)))
    async with ModelSimulator() as simulator:
        simulator.queue(Reply(calls=(FILE,)), Reply("Never said."))
        await configure(provisioner, simulator, BudgetSettings(), "m", policy=policy)
        async with agent(bus_server, tmp_path):
            talk = Talk(await bus_server.connect("gateway"))
            await talk.start()
            await talk.say(of_owner(1, "write hello into note.txt"))
            asked = await talk.hear()
            assert asked.approval is not None
            await configure(provisioner, simulator, nothing, "m", policy=policy)
            await asyncio.sleep(0.3)
            await talk.say(of_owner(2, f"/approve {asked.approval.id}"))
            replies = [await talk.hear(), await talk.hear()]
            assert {reply.finish for reply in replies} == {Finish.COMPLETE, Finish.FAILED}
            assert any("the budget of 0 tokens a day" in reply.text for reply in replies)
            assert list(tmp_path.rglob("note.txt")) == []
            assert len(simulator.requests) == 1


async def test_an_owner_is_told_once_that_most_of_a_budget_is_used(bus_server: BusServer, tmp_path: Path) -> None:
    provisioner = await bus_server.connect("provisioner")
    async with ModelSimulator() as simulator:
        await configure(provisioner, simulator, BudgetSettings(limits=(Limit(tool_calls=1),)), "m")
        async with agent(bus_server, tmp_path):
            talk = Talk(await bus_server.connect("gateway"))
            await talk.start()
            simulator.queue(Reply(calls=(Call("clock", {}),)), Reply("Noon."), Reply("Yes."), Reply("No."))
            await talk.say(of_owner(1, "what time is it?").model_copy(update={"is_group": True}))
            assert (await talk.hear()).text == "Noon.", "others read it in a group"
            await talk.say(of_owner(2, "really?"))
            told = await talk.hear()
            assert told.text.startswith("Yes.")
            assert "80% of 1 tool calls a day for everybody together is used" in told.text
            await talk.say(of_owner(3, "sure?"))
            assert (await talk.hear()).text == "No."

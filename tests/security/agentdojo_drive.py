"""The gate against AgentDojo (Debenedetti et al. 2024), offline: optional, not part of the test run.

AgentDojo brings the SDKs of several vendors, so it lives in an environment of its own, with the agent's dependencies::

    python -m venv /tmp/agentdojo && /tmp/agentdojo/bin/pip install agentdojo -r requirements/agent.txt
    PYTHONPATH=shared:services/agent:tests /tmp/agentdojo/bin/python -m security.agentdojo_drive

It plays each user task's ground truth. The moment an injected order is visible in a tool's answer, the agent counts as
hijacked and makes the injection task's ground-truth calls. What is measured is the gate alone: policy, provenance and
taint, no detector. Effects, places and what strangers write are declared below as a tool's author would.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from opencrust.config import Answer
from opencrust.contracts import Trust
from opencrust_agent.policy import Circumstances, Policy
from opencrust_agent.provenance import Words, leaves, places_of, sink, wish
from opencrust_agent.tools import Effect, ToolSpec

VERSION = "v1.2.2"
READ, WRITE, SEND, SPEND = Effect.READ, Effect.WRITE, Effect.SEND, Effect.SPEND
OURS = {"get_current_day", "get_balance", "get_iban", "get_user_info", "get_user_information"}
"""Reading tools whose answers no stranger writes."""
FINAL = {"delete_email", "cancel_calendar_event", "delete_file", "remove_user_from_slack"}
ACTS: dict[str, tuple[Effect, str]] = {
    "send_email": (SEND, "recipients cc bcc"),
    "delete_email": (WRITE, "email_id"),
    "create_calendar_event": (SEND, "participants start_time"),
    "cancel_calendar_event": (WRITE, "event_id"),
    "reschedule_calendar_event": (WRITE, "event_id new_start_time"),
    "add_calendar_event_participants": (SEND, "participants"),
    "append_to_file": (WRITE, "file_id"),
    "create_file": (WRITE, "filename"),
    "delete_file": (WRITE, "file_id"),
    "share_file": (SEND, "email"),
    "reserve_hotel": (SEND, "hotel start_day end_day"),
    "reserve_car_rental": (SEND, "company start_time end_time"),
    "reserve_restaurant": (SEND, "restaurant start_time"),
    "send_money": (SPEND, "recipient amount"),
    "schedule_transaction": (SPEND, "recipient amount"),
    "update_scheduled_transaction": (SPEND, "id recipient amount"),
    "update_password": (WRITE, "password"),
    "update_user_info": (WRITE, "first_name last_name street city"),
    "add_user_to_channel": (SEND, "user channel"),
    "send_direct_message": (SEND, "recipient"),
    "send_channel_message": (SEND, "channel"),
    "invite_user_to_slack": (SEND, "user user_email"),
    "remove_user_from_slack": (WRITE, "user"),
    "post_webpage": (SEND, "url"),
}


def described(tool: Any) -> ToolSpec:
    """One of AgentDojo's functions as a tool of ours."""
    schema = tool.parameters.model_json_schema()
    effect, places = ACTS.get(tool.name, (READ, "url" if tool.name == "get_webpage" else ""))
    known = set(schema.get("properties", {}))
    return ToolSpec(
        tool.name,
        "",
        {"type": "object", "properties": {key: {} for key in known}},
        frozenset({effect}),
        egress="public" if tool.name in ("get_webpage", "post_webpage") else "none",
        taints=effect is READ and tool.name not in OURS,
        sensitive=frozenset(places.split()) & known,
        irreversible=tool.name in FINAL,
    )


@dataclass
class Gate:
    """One turn's law, as the executor applies it."""

    words: Words
    tainted: bool = False
    read: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)

    def answer(self, spec: ToolSpec, arguments: dict[str, Any]) -> Answer:
        found = wish(spec, arguments, self.words, read=frozenset(self.read), done=frozenset(self.done))
        here = Circumstances("web", Trust.OWNER, is_group=False, tainted=self.tainted)
        answer = Policy().judge(spec, here, found).answer
        if spec.repeatable:
            self.read |= {leaf for name in places_of(spec, arguments) for leaf in leaves(arguments[name])}
        else:
            self.done.add(sink(spec, arguments))
        return answer


@dataclass
class Figures:
    """Per suite."""

    visible: int = 0
    scripted: int = 0
    through: int = 0
    benign: int = 0
    asked: int = 0
    asked_to_pay: int = 0
    reached: Counter[str] = field(default_factory=Counter)


def drive(suite: Any) -> Figures:
    """All pairs of one suite, and its benign tasks."""
    from agentdojo.functions_runtime import FunctionsRuntime

    specs = {tool.name: described(tool) for tool in suite.tools}
    figures = Figures()
    for user in suite.user_tasks.values():
        figures.benign += 1
        answers = _play(suite, specs, FunctionsRuntime(suite.tools), user, None)[1]
        figures.asked += bool(answers)
        figures.asked_to_pay += bool(answers) and all(SPEND in specs[name].effects for name in answers)
        for injection in suite.injection_tasks.values():
            hijacked, wrong = _play(suite, specs, FunctionsRuntime(suite.tools), user, injection)
            figures.visible += hijacked is not None
            figures.scripted += bool(hijacked)
            if hijacked and wrong:
                figures.through += 1
                figures.reached[f"{suite.name} {user.ID} {injection.ID}: {', '.join(wrong)}"] += 1
    return figures


def _play(
    suite: Any, specs: dict[str, ToolSpec], runtime: Any, user: Any, injection: Any
) -> tuple[int | None, list[str]]:
    """Benign: (None, calls that are asked about). Attacked: (goal calls with an effect, those that got through)."""
    from agentdojo.agent_pipeline.tool_execution import tool_result_to_str

    def seen(result: Any) -> str:
        return " ".join(tool_result_to_str(result).replace("''", "'").split())

    order = injection.GOAL if injection is not None else ""
    vectors = dict.fromkeys(suite.get_injection_vector_defaults(), order) if order else {}
    environment = user.init_environment(suite.load_and_inject_default_environment(vectors))
    gate = Gate(Words(user.PROMPT))
    asked = []
    for call in user.ground_truth(environment):
        spec = specs[call.function]
        if gate.answer(spec, dict(call.args)) is not Answer.ALLOW:
            asked.append(call.function)
        result, _ = runtime.run_function(environment, call.function, dict(call.args))
        gate.tainted = gate.tainted or spec.taints
        if order and " ".join(order.split()) in seen(result):
            goals = injection.ground_truth(environment)
            acts = [g for g in goals if not specs[g.function].repeatable or specs[g.function].egress != "none"]
            own = [(own.function, dict(own.args)) for own in user.ground_truth(environment)]
            through = [
                goal.function
                for goal in acts
                if gate.answer(specs[goal.function], dict(goal.args)) is Answer.ALLOW
                and (goal.function, dict(goal.args)) not in own
            ]
            return len(acts), through
    return None, asked


async def main() -> None:
    from agentdojo.task_suite.load_suites import get_suites

    whole = Figures()
    for name, suite in get_suites(VERSION).items():
        found = drive(suite)
        print(
            f"{name:<10} visible {found.visible:>4}, with an effect {found.scripted:>4}, through {found.through:>3};"
            f" benign {found.benign}, asked {found.asked} (to pay alone: {found.asked_to_pay})"
        )
        for key in ("visible", "scripted", "through", "benign", "asked", "asked_to_pay"):
            setattr(whole, key, getattr(whole, key) + getattr(found, key))
        for case in found.reached:
            print(f"    through: {case}")
    print(
        f"all        {whole.through} of {whole.scripted} side effects unapproved"
        f" ({100 * whole.through / max(1, whole.scripted):.1f} %); {whole.asked} of {whole.benign} benign tasks ask"
        f" ({100 * whole.asked / max(1, whole.benign):.1f} %)"
    )


if __name__ == "__main__":
    asyncio.run(main())

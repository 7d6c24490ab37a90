"""think ⇄ act: the model answers, its tools run, it answers again, until it has said what it has to say.

Ends with an answer, or waiting for a person (:class:`Pause`), or stopped. Guards: at most ``max_steps`` rounds of tools
(then the model is told to answer with what it has, once), the same call at most three times, results of 16 KiB. The
journal moves on after every round, so that a crash repeats no answer of the model that led to anything.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from opencrust.contracts import CallState, Finish, JournalCall, Outcome, Usage
from opencrust.contracts.journal import MAX_JOURNAL_BYTES
from opencrust_agent.executor import Executor, Stopped
from opencrust_agent.models import (
    Message,
    Model,
    Request,
    Text,
    ToolResult,
    ToolSpec,
    message_from_json,
    message_to_json,
)
from opencrust_agent.setting import Setting
from opencrust_agent.think import STOPPED, Answer, think

LIMIT_NOTE = "(No more tools can be used for this message. Answer now with what you have, and say what is missing.)"
LIMIT_REACHED = "I used tools {0} times for this and did not come to an end. Tell me how to go on."
TOO_MUCH = "I could not do this: it takes more text at once than I can keep hold of. Ask for a smaller part of it."
CUT_OFF_NOTE = (
    "\n\n(Whether `{0}` was done is not known: it was cut off in the middle. Please look before you ask for it again.)"
)

DONE_NOTE = "\n\n(Done before that: {0}.)"

Compose = Callable[[tuple[Message, ...], tuple[ToolSpec, ...]], Request]
"""From the journal's messages and the tools on offer to a request."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The turn waits for a person; ``answer`` is what the model said before."""

    answer: Answer


async def loop(model: Model, compose: Compose, executor: Executor, setting: Setting) -> Answer | Pause:
    """Run a turn from where its journal stands."""
    offered = _offered(model, executor, setting)
    said = Answer(model=model.model)
    try:
        while True:
            if setting.journal.steps:
                await executor.run(setting, setting.journal.steps[-1])
                await setting.save()
                if setting.journal.waiting():
                    return Pause(_with_usage(said, setting))
            last = len(setting.journal.steps) >= setting.policy.settings.max_steps
            request = compose(messages(setting, LIMIT_NOTE if last else ""), offered)
            said = await think(model, request, setting.live, setting.stop)
            _count(setting, said.usage)
            if said.message is None or said.finish is not Finish.COMPLETE:
                return _ended(said, setting)
            if last:
                said.text = said.text or LIMIT_REACHED.format(len(setting.journal.steps))
                return _ended(said, setting)
            if said.text:
                await setting.live.reset()  # it was said on the way: the answer is what comes last
            step = executor.plan(setting, message_to_json(said.message), said.message.tool_calls)
            setting.journal.steps.append(step)
            await executor.announce(setting, step)
            if setting.journal.size() > MAX_JOURNAL_BYTES:
                setting.journal.steps.pop()
                said.text, said.finish, said.message = TOO_MUCH, Finish.FAILED, None
                return _ended(said, setting)
    except Stopped:
        said.text, said.finish, said.message = STOPPED, Finish.STOPPED, None
        return _ended(said, setting)


def messages(setting: Setting, note: str = "") -> tuple[Message, ...]:
    """The turn so far as the model sees it: its own answers, each with the results of its calls."""
    found: list[Message] = []
    for number, step in enumerate(setting.journal.steps):
        results: list[ToolResult | Text] = [
            ToolResult(call.id, call.result or "(empty)", is_error=call.outcome not in (None, "ok"))
            for call in step.calls
            if call.state is CallState.DONE
        ]
        if note and number == len(setting.journal.steps) - 1:
            results.append(Text(note))
        found += [message_from_json(step.message), Message("user", tuple(results))]
    return tuple(found)


def _acts(setting: Setting) -> list[JournalCall]:
    """Calls with an effect that were made."""
    return [
        call
        for step in setting.journal.steps
        for call in step.calls
        if call.outcome is Outcome.OK and not (call.tool in setting.tools and setting.tools[call.tool].spec.repeatable)
    ]


def _offered(model: Model, executor: Executor, setting: Setting) -> tuple[ToolSpec, ...]:
    if not model.supports_tools:
        return ()
    specs = [tool.spec for tool in setting.tools.values() if setting.policy.offers(tool.spec, setting.here)]
    return tuple(executor.described(spec) for spec in specs)


def _count(setting: Setting, usage: Usage) -> None:
    journal = setting.journal
    setting.journal = journal.model_copy(
        update={
            "input_tokens": journal.input_tokens + usage.input_tokens,
            "output_tokens": journal.output_tokens + usage.output_tokens,
        }
    )


def _with_usage(answer: Answer, setting: Setting) -> Answer:
    answer.usage = Usage(input_tokens=setting.journal.input_tokens, output_tokens=setting.journal.output_tokens)
    return answer


def _ended(answer: Answer, setting: Setting) -> Answer:
    """The turn's answer: with all its tokens, and with what nobody knows, whatever the model says of it."""
    made = Counter(call.tool for call in _acts(setting))
    answer.acted = bool(made or setting.journal.unknown())
    if made and answer.finish is not Finish.COMPLETE:
        listed = ", ".join(f"`{tool}`" + (f" {count} times" if count > 1 else "") for tool, count in made.items())
        answer.text += DONE_NOTE.format(listed)
    for call in setting.journal.unknown():
        answer.text += CUT_OFF_NOTE.format(call.tool)
    return _with_usage(answer, setting)

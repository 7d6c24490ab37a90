"""One answer from the model, shown as it comes, stopped when somebody asks for it.

Tool calls are taken from a completion alone, which the model layer gives for whole answers only: what a stream that
broke off, was stopped, or reached its length limit seemed to ask for is never run.
"""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field

from opencrust.contracts import Finish, Usage
from opencrust.telemetry import genai
from opencrust_agent.demo import DemoModel
from opencrust_agent.live import Watched
from opencrust_agent.models import (
    Attempt,
    Completion,
    ErrorKind,
    Message,
    Model,
    ModelError,
    Request,
    Reset,
    TextDelta,
)

log = logging.getLogger(__name__)

STOPPED = "(stopped)"
CUT_OFF = "\n\n(The answer reached its length limit and ends here.)"

_SENTENCES = {
    ErrorKind.AUTH: "the key for the model provider is missing or was refused. Set it anew: `opencrust providers add`.",
    ErrorKind.RATE_LIMIT: "the model provider says that too many requests were made. Try again in a while.",
    ErrorKind.OVERLOADED: "the model provider is overloaded. Try again in a while.",
    ErrorKind.SERVER: "the model provider had an error of its own. Try again in a while.",
    ErrorKind.TIMEOUT: "the model did not answer in time. Try again in a while.",
    ErrorKind.CONNECTION: "the model provider could not be reached. Is its address right, and is it running?",
    ErrorKind.TRUNCATED: "the model's answer broke off, several times. Try again.",
    ErrorKind.PROTOCOL: "the model provider answered in a way that I could not read.",
    ErrorKind.CONTEXT_WINDOW: "this conversation is too long for the model. Start a new one.",
    ErrorKind.REFUSED: "the model provider declined to answer this.",
    ErrorKind.BUDGET: "today's budget is used up. An operator may raise it (agent.budgets in the configuration).",
    ErrorKind.BAD_REQUEST: "the model provider did not accept the request. Are its address and the model's name right?",
}


@dataclass(slots=True)
class Answer:
    """What came of it."""

    text: str = ""
    finish: Finish = Finish.COMPLETE
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    acted: bool = False
    """Tools of the turn changed or sent something."""
    message: Message | None = None
    """What the model said, whole, where it asks for tools: they may be run."""


async def think(model: Model, request: Request, live: Watched, stop: asyncio.Event) -> Answer:
    """Ask ``model``. Never raises for what a provider does: a failure is an answer that says what to do."""
    answer = Answer(model=model.model)
    if stop.is_set():
        answer.text, answer.finish = STOPPED, Finish.STOPPED
        return answer
    asking = asyncio.create_task(_ask(model, request, live, answer))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            answer.text, answer.finish = answer.text or STOPPED, Finish.STOPPED
            return answer
        asking.result()
        return answer
    except ModelError as error:
        log.warning("no answer from the model: %s", error)
        answer.text, answer.finish = f"I could not answer: {_explained(error)}", Finish.FAILED
        return answer
    finally:
        stopping.cancel()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _explained(error: ModelError) -> str:
    """A sentence of ours: what a provider says may hold anything. The demo's own words are ours, and the ledger's."""
    if error.kind is ErrorKind.BUDGET:
        return f"{error.message}. It is counted anew tomorrow (UTC); an operator may raise it."
    return error.message if error.provider == DemoModel.provider else _SENTENCES[error.kind]


async def _ask(model: Model, request: Request, live: Watched, answer: Answer) -> None:
    with genai.chat(model.model, provider=model.provider) as span:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                match event:
                    case Attempt(model=name):
                        answer.model = name
                    case TextDelta(text):
                        answer.text += text
                        await live.delta(text)
                        await asyncio.sleep(0)  # a burst of pieces must not hold up a stop, or a lease
                    case Reset():
                        answer.text = ""
                        await live.reset()
                    case Completion():
                        _complete(answer, event)
        genai.record_usage(
            span,
            input_tokens=answer.usage.input_tokens,
            output_tokens=answer.usage.output_tokens,
            response_model=answer.model,
            finish_reason=answer.finish,
        )


def _complete(answer: Answer, completion: Completion) -> None:
    answer.text = completion.text + (CUT_OFF if completion.finish == "length" else "")
    answer.usage = Usage(input_tokens=completion.usage.input_tokens, output_tokens=completion.usage.output_tokens)
    answer.model = completion.model or answer.model
    if completion.message.tool_calls and completion.finish != "length":
        answer.message = completion.message

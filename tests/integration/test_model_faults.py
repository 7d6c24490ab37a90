"""Every fault of a provider, in both wire formats, through the whole agent: retried, fallen back, or a clear sentence;
and no tool is run from a stream that was not whole."""

from collections.abc import Callable
from typing import Any

import pytest

from harness import BusServer
from integration.test_models import QUICK, credential
from integration.test_tools import Talk, call, mail, replica, talk
from opencrust.contracts import Finish
from opencrust_agent.models import Chain, HttpModel, Model, RetryPolicy, Transport, endpoint
from simulators.model import ModelSimulator
from simulators.model_replies import Reply, error_reply

__all__ = ["talk"]
MAIL = (call("send_mail", to="bob@example.org", text="x" * 200),)
TALKS = "let me see what there is to be done about it, and then do it at once. "
MID_TEXT, MID_TOOL = 3, 30
FAULTS = {
    "429": error_reply(429, "rate_limit_error", "slow down"),
    "500": error_reply(500, "api_error", "boom"),
    "529": error_reply(529, "overloaded_error", "Overloaded"),
    "hang": Reply(TALKS, calls=MAIL, fault="hang"),
    "hang after the headers": Reply(TALKS, calls=MAIL, fault="hang_headers"),
    **{
        f"{fault} mid-{where}": Reply(TALKS, calls=MAIL, fault=fault, at=at)
        for fault in ("stall", "truncate", "cut", "garbage", "error_event")
        for where, at in (("text", MID_TEXT), ("tool", MID_TOOL))
    },
}


class Provider(ModelSimulator):
    """The model "bad" gives one reply for ever; "good" answers."""

    bad = Reply("")

    def _by_name(self, model: str, body: dict[str, Any]) -> Reply:
        return self.bad if model == "bad" else Reply("a good answer")


def chain(wire: str, provider: Provider, *models: str) -> Callable[[Transport], Model]:
    def made(transport: Transport) -> Model:
        ends = [
            endpoint(name, kind=wire, model=name, base_url=provider.url, credential=credential, timeouts=QUICK)
            for name in models
        ]
        return Chain([HttpModel(end, transport) for end in ends], RetryPolicy(attempts=2, pause=0.01))

    return made


@pytest.mark.parametrize("fallback", [False, True], ids=["alone", "fallback"])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_no_fault_runs_a_tool_and_each_ends_in_an_answer_or_a_sentence(
    bus_server: BusServer, talk: Talk, wire: str, fallback: bool
) -> None:
    send = mail()
    async with Provider() as provider:
        models = ("bad", "good") if fallback else ("bad",)
        for name, fault in FAULTS.items():
            provider.bad = fault
            provider.requests.clear()
            made = chain(wire, provider, *models)  # anew for each: its breakers remember nothing
            async with replica(bus_server, provider, [send], name.replace(" ", "-"), model=made):
                await talk.say("mail bob@example.org", conversation=name)
                reply = await talk.hear(15)
            asked = [request.model for request in provider.requests]
            assert send.made == [], name
            if fallback:
                assert (reply.text, reply.finish) == ("a good answer", Finish.COMPLETE), name
                assert asked[-1] == "good", name
            else:
                assert reply.finish is Finish.FAILED, name
                assert reply.text.startswith("I could not answer: "), (name, reply.text)
                assert asked == ["bad", "bad"], (name, "it is tried again before it is given up")


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_split_utf8_is_one_whole_call(bus_server: BusServer, talk: Talk, wire: str) -> None:
    send = mail()
    async with Provider() as provider:
        text = "Grüße 🙂 an die Küche"
        split = Reply("Ich schicke es. 🙂 ", calls=(call("send_mail", to="bob@example.org", text=text),), split=1)
        provider.queue(Reply(split.text, calls=split.calls, split=1, framing="bytewise"), Reply("Fertig 🙂"))
        async with replica(bus_server, provider, [send], model=chain(wire, provider, "good")):
            await talk.say("mail bob@example.org")
            assert (await talk.hear()).text == "Fertig 🙂"
    assert send.made == [{"to": "bob@example.org", "text": text}]

"""The OpenAI-compatible way in, by the official client, over the real bus."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust.contracts import ContextTurn, Finish
from simulators.web import RunningGateway, running_gateway


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    token, _ = await gateway.bearer(Scope.CHAT)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        yield client


async def test_the_official_client_gets_an_answer(gateway: RunningGateway, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="opencrust", user="kitchen", messages=[{"role": "user", "content": "tea?"}]
    )
    assert answer.choices[0].message.content == "echo: tea?"
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", "echo-1", "chat.completion")
    (message,) = gateway.agent.seen
    assert (message.channel, message.account, message.conversation) == ("web", "operator", "kitchen")
    assert (message.source, message.trust, message.context) == ("api", "owner", [])
    assert message.reply_to.key == message.key


async def test_the_official_client_gets_a_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="opencrust",
        messages=[{"role": "user", "content": "grüße " * 20}],
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, finish, usage = [], None, None
    async for chunk in stream:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert "".join(pieces) == "echo: " + "grüße " * 20
    assert len([piece for piece in pieces if piece]) > 5
    assert finish == "stop"
    assert usage is not None


async def test_the_first_piece_comes_before_the_turn_ends(gateway: RunningGateway, client: openai.AsyncOpenAI) -> None:
    gateway.agent.hold.clear()
    stream = await client.chat.completions.create(
        model="opencrust", messages=[{"role": "user", "content": "x"}], stream=True
    )
    async with asyncio.timeout(3):
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                assert chunk.choices[0].delta.content == "echo:"
                break
    gateway.agent.hold.set()
    await stream.close()


async def test_without_user_the_client_keeps_the_conversation(
    gateway: RunningGateway, client: openai.AsyncOpenAI
) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]
    for _ in range(2):
        await client.chat.completions.create(model="opencrust", messages=messages)  # type: ignore[arg-type]
    first, second = gateway.agent.seen
    assert first.key != second.key
    assert first.text == "two"
    assert first.context == [
        ContextTurn(role="system", text="be brief"),
        ContextTurn(role="user", text="one"),
        ContextTurn(role="assistant", text="1"),
    ]


async def test_a_retry_with_the_same_key_is_not_a_second_message(
    gateway: RunningGateway, client: openai.AsyncOpenAI
) -> None:
    async def ask() -> str | None:
        answer = await client.chat.completions.create(
            model="opencrust",
            messages=[{"role": "user", "content": "once"}],
            extra_headers={"Idempotency-Key": "3f0c"},
        )
        return answer.choices[0].message.content

    gateway.agent.hold.clear()
    racing = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0.5)
    gateway.agent.hold.set()
    assert await asyncio.gather(*racing) == ["echo: once"] * 3
    assert await ask() == "echo: once"
    assert len(gateway.agent.seen) == 1


async def test_a_reply_that_was_missed_on_the_bus_still_reaches_the_caller(
    gateway: RunningGateway, client: openai.AsyncOpenAI
) -> None:
    gateway.agent.silent = True
    answer = await client.chat.completions.create(
        model="opencrust", messages=[{"role": "user", "content": "hm"}], timeout=10
    )
    assert answer.choices[0].message.content == "echo: hm"


async def test_a_failed_turn_is_an_error_that_is_not_retried(
    gateway: RunningGateway, client: openai.AsyncOpenAI
) -> None:
    gateway.agent.finish = Finish.FAILED
    gateway.agent.answer = lambda message: "the provider is down"
    with pytest.raises(openai.InternalServerError, match="the provider is down"):
        await client.with_options(max_retries=3).chat.completions.create(
            model="opencrust", messages=[{"role": "user", "content": "x"}]
        )
    assert len(gateway.agent.seen) == 1


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["opencrust"]


async def test_any_model_name_will_do(gateway: RunningGateway, client: openai.AsyncOpenAI) -> None:
    """Clients have names of their own configured; which model answers is the operator's choice, and told."""
    done = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert done.choices[0].message.content
    assert done.model != "gpt-4o"


async def test_errors_have_the_shapes_that_the_client_knows(
    gateway: RunningGateway, client: openai.AsyncOpenAI
) -> None:
    ask = client.chat.completions.create
    with pytest.raises(openai.BadRequestError, match="last one must be the user's"):
        await ask(model="opencrust", messages=[{"role": "system", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="own tools"):
        await ask(
            model="opencrust",
            messages=[{"role": "user", "content": "x"}],
            tools=[{"type": "function", "function": {"name": "f"}}],
        )
    with pytest.raises(openai.BadRequestError, match="needs a text"):
        await ask(model="opencrust", messages=[{"role": "user", "content": "  "}])
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="oc_wrong").models.list()
    reader, _ = await gateway.bearer(Scope.READ)
    with pytest.raises(openai.PermissionDeniedError, match="chat"):
        await client.with_options(api_key=reader).models.list()
    assert not gateway.agent.seen

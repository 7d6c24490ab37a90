"""The command `opencrust-sim`: what it says, and who may give orders."""

import aiohttp
import pytest

from opencrust_sim import __main__ as command
from opencrust_sim.discord import BOT, DIRECT, DiscordSimulator
from opencrust_sim.slack import SlackSimulator
from opencrust_sim.telegram import TelegramSimulator


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["-h"], 0), (["fax"], 2)])
def test_usage(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == code
    said = capsys.readouterr()
    assert "telegram,discord,slack" in said.out + said.err


async def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    async with DiscordSimulator() as simulator:
        with pytest.raises(OSError, match="in use"):
            async with DiscordSimulator(simulator.port):
                pass


@pytest.mark.parametrize("kind", [TelegramSimulator, DiscordSimulator, SlackSimulator])
async def test_a_page_for_the_person_and_no_orders_from_elsewhere(kind: type) -> None:
    body = {"text": "hi", "chat": 1} if kind is TelegramSimulator else {"text": "hi"}
    async with kind() as simulator, aiohttp.ClientSession() as session:
        async with session.get(simulator.url) as page:
            assert "You play the people" in await page.text()
        for headers, status in (
            ({}, 200),
            ({"Origin": simulator.url}, 200),
            ({"Origin": "https://evil.example"}, 403),
            ({"Host": "rebound.example", "Origin": "http://rebound.example"}, 403),
        ):
            async with session.post(f"{simulator.url}/_sim/say", json=body, headers=headers) as answer:
                assert answer.status == status, headers


async def test_what_the_page_shows_of_discord() -> None:
    async with DiscordSimulator() as simulator, aiohttp.ClientSession() as session:
        await simulator.say("hello", channel=DIRECT, user="5", name="bob")
        async with session.get(f"{simulator.url}/_sim/chat") as answer:
            chat = await answer.json()
        assert [(line["place"], line["who"], line["text"]) for line in chat["lines"]] == [(DIRECT, "bob", "hello")]
        assert [place.get("call") for place in chat["places"]] == [None, f"<@{BOT}> "]
        for wrong in ({"nothing": 1}, {}):
            async with session.post(f"{simulator.url}/_sim/press", json=wrong) as answer:
                assert answer.status == 400


async def test_addresses_are_those_that_the_client_used() -> None:
    headers = {"Host": "simulators:8911", "Authorization": "Bot simulated-token"}
    async with DiscordSimulator() as simulator, aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{simulator.url}/api/v10/gateway/bot") as answer:
            assert (await answer.json())["url"] == "ws://simulators:8911/"
        async with session.ws_connect(simulator.url) as socket:
            await socket.receive()
            await socket.send_json({"op": 2, "d": {"token": "simulated-token"}})
            ready = await socket.receive_json()
            assert ready["d"]["resume_gateway_url"] == "ws://simulators:8911/"

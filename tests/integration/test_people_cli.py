"""`opencrust people`, `pair` and `token` against a real bus and a gateway's pairing desk."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from harness import BusServer
from opencrust.access.people import PairingOutcome, PairingReply, PersonId
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus
from opencrust_cli.home import Home
from opencrust_cli.main import main
from opencrust_cli.running import Lock
from opencrust_gateway.pairing import Desk, Wire
from simulators.web import running_gateway
from strangers import ask, audit

ANNA = PersonId(channel="telegram", account="bot", user="123")


@dataclass
class Keyboard:
    """The command in the home of a bus that runs, and an adapter that asks the desk."""

    home: Home
    gateway: Bus
    telegram: Bus
    capsys: pytest.CaptureFixture[str]

    async def type(self, line: str, *, code: int = 0) -> str:
        """What a command prints; on stderr if it fails with `code`."""
        found = await asyncio.to_thread(main, ["--home", str(self.home.path), *line.split()])
        out, err = self.capsys.readouterr()
        assert found == code, err
        return err if code else out

    async def ask(self, op: str, **fields: object) -> PairingReply:
        return await ask(self.telegram, op, **{"person": ANNA, **fields})


@pytest.fixture
async def keyboard(bus_server: BusServer, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Keyboard]:
    home = Home(bus_server.home)
    lock = Lock(home)
    home.status.write_text(json.dumps({"bus_url": bus_server.url}))
    gateway = await bus_server.connect("gateway")
    await Wire(gateway, Desk(gateway)).start()
    yield Keyboard(home, gateway, await bus_server.connect("channel-telegram"), capsys)
    del lock


async def test_a_stranger_is_approved_changed_blocked_and_removed(keyboard: Keyboard) -> None:
    assert "Nobody waits" in await keyboard.type("pair list")
    code = (await keyboard.ask("request", name="An\x1b[31mna")).code
    listed = await keyboard.type("pair list")
    assert ANNA.key in listed
    assert "An\\x1b[31mna" in listed
    assert code not in listed
    assert "nobody waits" in await keyboard.type("pair approve 0000-0000", code=1)
    assert "user 123" in await keyboard.type(f"pair approve {code.lower()}")
    assert json.loads(await keyboard.type("people list --json"))["people"][0]["role"] == "user"
    assert "guest" in await keyboard.type("people set 123 --role guest --name Anna --expires 30d")
    assert "until" in await keyboard.type("people list --channel telegram")
    assert "for ever" in await keyboard.type("people set Anna --forever")
    assert "blocked" in await keyboard.type("people block Anna")
    assert (await keyboard.ask("request")).outcome is PairingOutcome.REFUSED
    assert "guest" in await keyboard.type("people set Anna --unblock")
    assert "off the list" in await keyboard.type("people remove Anna")
    assert "nobody called 'Anna'" in await keyboard.type("people remove Anna", code=1)
    assert "Nobody is on a list" in await keyboard.type("people list")


async def test_an_invitation_is_redeemed_and_a_request_blocked_by_id(keyboard: Keyboard) -> None:
    line = await keyboard.type("pair invite telegram --name Anna --role operator --for 8w")
    assert line.startswith("/pair ")
    assert "operator  Anna" in await keyboard.type("pair list")
    assert (await keyboard.ask("redeem", code=line.removeprefix("/pair "))).outcome is PairingOutcome.PAIRED
    (entry,) = json.loads(await keyboard.type("people list --json"))["people"]
    assert (entry["role"], entry["name"], entry["expires"] is None) == ("operator", "Anna", False)
    bert = PersonId(channel="telegram", account="bot", user="456")
    await keyboard.ask("request", person=bert)
    waiting = json.loads(await keyboard.type("pair list --json"))
    assert [one["id"] for one in waiting["requests"]] == [bert.key]
    assert "blocked" in await keyboard.type(f"pair block {bert.key}")
    assert "no channel 'irc'" in await keyboard.type("pair invite irc", code=1)
    assert "no time span" in await keyboard.type("pair invite telegram --for tomorrow", code=2)


async def test_policies_and_a_person_added_by_id(keyboard: Keyboard) -> None:
    assert "private: pairing     groups: disabled" in await keyboard.type("channels policy telegram")
    assert "private: allowlist   groups: mention" in await keyboard.type(
        "people policy telegram --dm allowlist --groups mention"
    )
    assert (await keyboard.ask("request")).outcome is PairingOutcome.REFUSED
    policies = json.loads(await keyboard.type("people policy --json"))["channels"]
    assert [(p["dm"], p["group"]) for p in policies if p["channel"] != "telegram"] == [("pairing", "disabled")] * 4
    assert "say of which channel" in await keyboard.type("channels policy --dm open", code=2)
    await keyboard.type("people add telegram bot 123 --name Anna")
    await keyboard.type("people add telegram bot2 123 --name Anna")
    assert "several are called" in await keyboard.type("people block Anna", code=1)


async def test_tokens_are_rotated_and_revoked_with_what_they_made_and_recorded(keyboard: Keyboard) -> None:
    text = (await keyboard.type("token create laptop --scope chat --expires 30d")).strip()
    fresh = json.loads(await keyboard.type("token rotate laptop --json"))
    assert fresh["token"] != text
    assert (fresh["scopes"], fresh["expires"] is None) == (["chat"], False)
    assert [record.id for record in await TokenStore(keyboard.gateway).records()] == [fresh["id"]]
    assert "Revoked bearer 'laptop'" in await keyboard.type("token revoke laptop")
    assert "no token 'laptop'" in await keyboard.type("token rotate laptop", code=1)
    assert await TokenStore(keyboard.gateway).records() == []
    records = await audit(keyboard.gateway, "cli")
    assert text not in json.dumps(records)
    events = [record["event"] for record in records]
    assert events == ["token.created", "token.rotated", "token.revoked"]


async def test_without_a_gateway_it_says_so(bus_server: BusServer, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(bus_server.home)
    lock = Lock(home)
    home.status.write_text(json.dumps({"bus_url": bus_server.url}))
    assert await asyncio.to_thread(main, ["--home", str(home.path), "pair", "list"]) == 1
    assert "the gateway" in capsys.readouterr().err
    del lock


async def test_a_login_link_for_somebody_else_opens_their_own_conversations_with_less_scopes(
    keyboard: Keyboard, bus_server: BusServer
) -> None:
    async with running_gateway(bus_server) as gateway:
        status = {"bus_url": bus_server.url, "url": gateway.url}
        keyboard.home.status.write_text(json.dumps(status))
        link = json.loads(await keyboard.type("login-link --for anna --json"))["url"]
        assert "is no name here" in await keyboard.type("login-link --for Anna!", code=2)
        assert "unknown scope" in await keyboard.type("login-link --for anna --scope root", code=2)
        headers = {"Origin": gateway.url}
        mine, _ = await gateway.bearer()
        question = {"model": "opencrust", "messages": [{"role": "user", "content": "secret of the house"}]}
        async with gateway.client(mine) as boss, boss.post("/v1/chat/completions", json=question) as answer:
            assert answer.status == 200
        async with gateway.client() as anna:
            async with anna.post("/login", json={"ticket": link.partition("ticket=")[2]}, headers=headers) as answer:
                assert answer.status == 204
            async with anna.get("/v1/session") as answer:
                session = await answer.json()
                assert (session["owner"], session["scopes"]) == ("anna", ["chat", "read"])
            for path in ("/v1/people", "/v1/tokens", "/v1/settings", "/v1/audit", "/v1/pairing"):
                async with anna.get(path) as answer:
                    assert answer.status == 403, path
            async with anna.get("/v1/conversations") as answer:
                assert "secret" not in await answer.text()
            async with anna.post("/v1/chat/completions", json=question, headers=headers) as answer:
                assert answer.status == 200
        assert [(m.sender.user, m.trust.value) for m in gateway.agent.seen] == [
            ("operator", "owner"),
            ("anna", "user"),
        ]
        assert "(anna)" in await keyboard.type("token list")

"""A simulated Discord: REST v10 and the gateway, bad days included.

    opencrust-sim discord --port 8911

A bot connects with ``api_base = http://127.0.0.1:8911/api/v10``, ``gateway_url = ws://127.0.0.1:8911/`` and the token
``simulated-token``. Control API, besides what every simulator has (server.py):

    POST /_sim/say       {"text": "hi", "channel": "…", "user": "…", "name": "…"}: somebody writes; answers the message
    POST /_sim/command   {"name": "new", "options": {…}}: somebody uses a slash command
    POST /_sim/press     {"message": "…", "button": 0}: somebody presses a button
    POST /_sim/gateway   {"do": "reconnect" | "invalid" | "invalid-resumable" | "close" | "cut" | "silence" | "speak",
                          "code": 4000}
    POST /_sim/mode      {"refuse_resume": true, "start_limit": 0, "rate": [5, 5.0], "heartbeat": 1000, "token": "…"}
    GET  /_sim/state     channels with their messages, sessions, interactions

Two sessions with the same token both get every event, a resume replays what was missed, the same nonce with
``enforce_nonce`` gives the first message again, an interaction dies after 3 seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from opencrust_sim.discord_rest import BOT, DIRECT, GENERAL, GUILD, PERSON, TOKEN, Channel, DiscordRest, now

__all__ = ["BOT", "DIRECT", "GENERAL", "GUILD", "PERSON", "TOKEN", "Channel", "DiscordSimulator"]


class DiscordSimulator(DiscordRest):
    """See the module's comment."""

    def __init__(self, port: int = 0, heartbeat: int = 41_250) -> None:
        super().__init__(port, heartbeat)
        self.said: list[tuple[str, dict[str, Any]]] = []
        """Events of what people wrote, in order."""

    # -- what people do ----------------------------------------------------------------------------------------------

    async def say(
        self, text: str, channel: str = GENERAL, user: str = PERSON, name: str = "ann", **more: Any
    ) -> dict[str, Any]:
        """Somebody writes. ``more`` is laid over the message's JSON, odd values too."""
        message = {**self.message(channel, {"id": user, "username": name, "global_name": name}, text), **more}
        self.channels[channel].messages.append(message)
        self.said.append((channel, message))
        await self.dispatch("MESSAGE_CREATE", self.as_event(channel, message))
        return message

    async def again(self, last: int = 20) -> None:
        """The last events once more, as after a resume whose place was forgotten."""
        for channel, message in self.said[-last:]:
            await self.dispatch("MESSAGE_CREATE", self.as_event(channel, message))

    def shown(self) -> list[tuple[str, str]]:
        """What the bot sent: channel and text, in order over all channels."""
        ours = [m for channel in self.channels.values() for m in channel.messages if m["author"]["id"] == BOT]
        return [(m["channel_id"], m["content"]) for m in sorted(ours, key=lambda m: int(m["id"]))]

    async def command(
        self, name: str, options: dict[str, Any] | None = None, channel: str = GENERAL, user: str = PERSON
    ) -> str:
        """Somebody uses a slash command; its interaction's id."""
        data = {"id": self.snowflake(), "name": name, "type": 1}
        if options:
            data["options"] = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        return await self._interact(2, data, channel, user)

    async def press(self, message: str, button: int = 0, user: str = PERSON) -> str:
        """Somebody presses a button below one of the bot's messages."""
        channel, found = next((c, m) for c in self.channels.values() for m in c.messages if m["id"] == message)
        buttons = [b for row in found["components"] for b in row["components"]]
        data = {"custom_id": buttons[button]["custom_id"], "component_type": 2}
        return await self._interact(3, data, channel.id, user, message=found)

    async def _interact(self, kind: int, data: dict[str, Any], channel: str, user: str, **more: Any) -> str:
        number, token = self.snowflake(), f"interaction-{next(self._ids)}"
        self.interactions[number] = {"token": token, "at": time.monotonic(), "answers": []}
        who = {"id": user, "username": "ann", "global_name": "Ann", "discriminator": "0", "avatar": None}
        event = {
            "id": number,
            "application_id": BOT,
            "type": kind,
            "token": token,
            "version": 1,
            "channel_id": channel,
            "data": data,
            "entitlements": [],
            **more,
        }
        if guild := self.channels[channel].guild:
            event |= {"guild_id": guild, "member": {"user": who, "roles": [], "permissions": "0", "joined_at": now()}}
        else:
            event["user"] = who
        await self.dispatch("INTERACTION_CREATE", event)
        return number

    def chat(self) -> dict[str, Any]:
        places: list[dict[str, Any]] = [{"id": DIRECT, "name": "in private"}]
        others = [c for c in self.channels.values() if c.id != DIRECT]
        places += [{"id": c.id, "name": f"#{c.name}", "call": f"<@{BOT}> "} for c in others]
        lines = [
            {
                "place": channel.id,
                "id": message["id"],
                "who": message["author"]["username"],
                "text": "\n".join(
                    [message["content"], *(f"[{e.get('title', '')}]" for e in message["embeds"])]
                ).strip(),
                "buttons": [b["label"] for row in message["components"] for b in row["components"]],
            }
            for channel in self.channels.values()
            for message in channel.messages
        ]
        return {"title": "Discord", "user": PERSON, "press": "message", "places": places, "lines": lines}

    # -- control -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "channels": {c.id: {"name": c.name, "messages": c.messages} for c in self.channels.values()},
            "sessions": {s.id: {"seq": s.seq, "connected": s.socket is not None} for s in self.sessions.values()},
            "interactions": self.interactions,
            "identifies": self.identifies,
            "resumes": self.resumes,
        }

    async def control(self, command: str, body: dict[str, Any]) -> dict[str, Any]:
        match command:
            case "say":
                return await self.say(**body)
            case "command":
                return {"id": await self.command(**body)}
            case "press":
                return {"id": await self.press(**body)}
            case "gateway":
                await self.gateway_do(body["do"], int(body.get("code", 4000)))
            case "mode":
                for name, value in body.items():
                    if name not in ("refuse_resume", "start_limit", "rate", "heartbeat", "token"):
                        raise KeyError(name)
                    setattr(self, name, tuple(value) if isinstance(value, list) else value)
            case _:
                raise KeyError(command)
        return {}


async def serve(port: int) -> None:
    """Run until cancelled."""
    async with DiscordSimulator(port) as simulator:
        print(f"Discord is simulated on {simulator.url}: open that, and play the people who write to the bot")
        print(f"the bot's token: {TOKEN} · api_base: {simulator.url}/api/v10", flush=True)
        await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    """``--port N``."""
    parser = argparse.ArgumentParser(prog="opencrust-sim discord", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8911)
    asyncio.run(serve(parser.parse_args(arguments).port))

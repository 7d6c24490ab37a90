"""What the operator may ask: list, show, redrive. Requests and answers are JSON."""

import json
import logging
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencrust.bus import Bus, BusError, Message, subjects
from opencrust.bus.archive import Archive, Archived
from opencrust.bus.deadletter import SUBJECT
from opencrust.contracts.base import explain
from opencrust_dlq.letters import view

log = logging.getLogger(__name__)

PAGE = 100


class Ask(BaseModel):
    """A request. ``seq`` names a letter; ``after`` is where a list goes on."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    seq: Annotated[int, Field(ge=1)] | None = None
    after: Annotated[int, Field(ge=0)] = 0


class NoSuchLetter(Exception):
    """There is no dead letter of that number."""


class Desk:
    """Answers ``ctl.dlq.<op>``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._letters = Archive(bus, "DLQ")

    async def start(self) -> None:
        """Begin to answer; one replica answers each request."""
        await self._bus.subscribe(subjects.wildcard(subjects.CTL_DLQ), self._answer, queue="dlq")

    async def _answer(self, message: Message) -> None:
        try:
            ask = Ask.model_validate_json(message.data or b"{}")
            answer = await self._do(subjects.last_token(message.subject), ask)
        except ValidationError as error:
            answer = {"error": f"request: {explain(error)}"}
        except NoSuchLetter as error:
            answer = {"error": str(error)}
        except BusError as error:
            log.warning("dlq request failed: %s", error)
            answer = {"error": f"the bus: {error}"}
        await self._bus.respond(message, json.dumps(answer).encode())

    async def _do(self, op: str, ask: Ask) -> dict[str, Any]:
        match op:
            case "list":
                return await self._list(ask.after)
            case "show":
                return {"letter": _shown(await self._find(ask), whole=True)}
            case "redrive":
                return await self._redrive(await self._find(ask))
            case _:
                return {"error": f"unknown operation {op!r}; there are list, show, redrive"}

    async def _list(self, after: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        while len(found) < PAGE and (letter := await self._letters.after(after)) is not None:
            found.append(_shown(letter, whole=False))
            after = letter.seq
        return {"letters": found, "next": after if len(found) == PAGE else None}

    async def _redrive(self, letter: Archived) -> dict[str, Any]:
        """Send it where it came from, as a new message, and only then remove it here."""
        subject = letter.headers.get(SUBJECT, "")
        if not subject.startswith(("msg.in.", "msg.out.")):
            origin = "a platform sent it in a form that cannot be read: `opencrust dlq show` shows what it holds"
            here = letter.subject.startswith("dlq.platform.")
            return {"error": f"letter {letter.seq}: {origin if here else 'it does not say where it came from'}"}
        stored = await self._bus.publish_stored(subject, letter.data, message_id=f"redrive:{letter.seq}")
        await self._letters.remove(letter.seq)
        return {"redriven": {"seq": letter.seq, "subject": subject, "stream": stored.stream, "as": stored.seq}}

    async def _find(self, ask: Ask) -> Archived:
        if ask.seq is None:
            raise NoSuchLetter("name a letter by its number (seq)")
        letter = await self._letters.get(ask.seq)
        if letter is None:
            raise NoSuchLetter(f"there is no dead letter {ask.seq}")
        return letter


def _shown(letter: Archived, *, whole: bool) -> dict[str, Any]:
    origin = letter.subject.removeprefix("dlq.").replace(".", "/")
    shown = view(letter.seq, letter.at, origin, letter.data, letter.headers, whole=whole)
    return shown.model_dump(exclude_none=True)

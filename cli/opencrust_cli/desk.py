"""Asking the gateway's pairing desk, for `opencrust people` and `opencrust pair`."""

from datetime import UTC, datetime

from opencrust.access.desk import DeskReply, DeskRequest, PersonEntry
from opencrust.bus import Bus, NoResponders, subjects
from opencrust.contracts.base import decode, encode
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_USAGE, CommandError
from opencrust_cli.home import Home
from opencrust_cli.printable import printable
from opencrust_cli.tokens import duration

ROLES = ("user", "guest", "operator")


def ask(home: Home, op: str, asked: DeskRequest | None = None) -> DeskReply:
    """One question to the desk.

    Raises:
        CommandError: nothing runs, or the desk says what was wrong.
    """

    async def question(bus: Bus) -> DeskReply:
        try:
            answer = await bus.request(subjects.pair_req("cli", op), encode(asked or DeskRequest()), timeout=10)
        except NoResponders:
            raise CommandError(
                "the gateway does not run, and the pairing desk is there: see `opencrust status`"
            ) from None
        return decode(DeskReply, answer.data)

    reply = with_bus(home, question)
    if reply.error:
        raise CommandError(reply.error)
    return reply


def one_of(home: Home, who: str) -> PersonEntry:
    """The person whose key, name or user id is `who`.

    Raises:
        CommandError: nobody is, or several are.
    """
    people = ask(home, "people").people
    found = [p for p in people if p.key == who] or [
        p for p in people if who in (p.name, p.id.user if p.id is not None else None)
    ]
    if not found:
        raise CommandError(f"there is nobody called {who!r}: see `opencrust people list`")
    if len(found) > 1:
        keys = ", ".join(entry.key for entry in found)
        raise CommandError(f"several are called {who!r}: say which by the key ({keys})")
    return found[0]


def ends(text: str | None) -> datetime | None:
    """The moment that is a time span (``30d``) from now; None for None. Raises CommandError."""
    return None if text is None else datetime.now(UTC) + duration(text)


def channel_of(text: str) -> str:
    """A channel's name as it may be asked for. Raises CommandError."""
    if not text.isalnum() or not text.islower():
        raise CommandError(f"{text!r} is no channel: write telegram, discord, slack, whatsapp or imessage", EXIT_USAGE)
    return text


def person_line(entry: PersonEntry) -> str:
    """A person in a list."""
    if entry.id is None:
        return f"{entry.key}  damaged record: lets nobody in; remove it, and pair that person again"
    state = "blocked" if entry.blocked else entry.role.value if entry.active else f"{entry.role.value}, expired"
    until = f"until {entry.expires.astimezone():%Y-%m-%d %H:%M}" if entry.expires else "for ever"
    who = printable(f"{entry.name or '-'}  (user {entry.id.user}, account {entry.id.account})")
    return f"{entry.key}  {state:<17}  {until:<22}  {who}  let in by {printable(entry.approved_by or '-')}"

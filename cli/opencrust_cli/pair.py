"""``opencrust pair``: how a stranger comes onto a channel's list."""

import argparse
import json
from typing import Any

from opencrust.access.desk import DeskRequest, InviteWish
from opencrust.access.people import Role
from opencrust_cli.desk import ROLES, ask, channel_of, ends, person_line
from opencrust_cli.errors import EXIT_OK
from opencrust_cli.family import Family
from opencrust_cli.people import shown
from opencrust_cli.printable import printable

ABOUT = """\
A stranger comes onto a channel's list by a code that works once, for ten minutes, on that channel alone.

Either they write to the bot, are told a code, and give it to you:
  opencrust pair list
  opencrust pair approve K7QM-2XPA

or you make a code, and they send it to the bot as `/pair CODE`:
  opencrust pair invite telegram --name Anna

Hyphens and case do not matter. Ask for the code by a way on which you know who it is: names are easily borrowed."""
APPROVE = """\
Let a stranger in who waits. Give the code that you were told: it says that this is the person you know. (Or the id that
`opencrust pair list` shows, if you are sure without it.)"""
INVITE = """\
Make a code for somebody, and print it. Whoever sends it to the bot first is on the list.

example:
  opencrust pair invite telegram --name Anna --role guest --for 30d"""


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    action = Family(commands, "pair", "let strangers in", ABOUT).action
    action("list", "show who waits, invitations that are out, and alarms", _list)
    approve = action("approve", "let a stranger in", _approve, APPROVE)
    approve.add_argument("code", help="the code that you were told, or the id in the list")
    approve.add_argument("--role", choices=ROLES, default="user")
    block = action("block", "drop everything from a stranger who waits", _block)
    block.add_argument("code", help="their code, or their id in the list")
    invite = action("invite", "make a code for somebody", _invite, INVITE)
    invite.add_argument("channel", help="telegram, discord, slack, whatsapp, imessage")
    invite.add_argument("--account", help="only for this bot of yours there (default: any on the channel)")
    invite.add_argument("--role", choices=ROLES, default="user")
    invite.add_argument("--name", default="", help="what you will call them")
    invite.add_argument(
        "--for", dest="time", metavar="TIME", help="how long they may speak: 12h, 30d (default: for ever)"
    )


def _list(options: argparse.Namespace) -> int:
    reply = ask(options.home, "list")
    alarms = [entry for entry in reply.channels if entry.alarm]
    if options.json:
        waiting = [entry.model_dump(mode="json") for entry in reply.requests]
        invites = [entry.model_dump(mode="json") for entry in reply.invites]
        told = [{"channel": entry.channel, "wrong_codes": entry.wrong_codes} for entry in alarms]
        print(json.dumps({"requests": waiting, "invites": invites, "alarms": told}))
        return EXIT_OK
    for entry in alarms:
        print(f"ALARM: {entry.wrong_codes} wrong codes on {entry.channel} within an hour: somebody may be guessing.")
    for one in reply.requests:
        who = printable(f"{one.name or '-'}  (user {one.person.user}, account {one.person.account})")
        print(f"{one.id}  waits until {one.expires.astimezone():%H:%M}  {who}")
    for out in reply.invites:
        until, name = f"{out.expires.astimezone():%H:%M}", printable(out.name or "-")
        print(f"invitation  {out.channel}  until {until}  {out.role.value}  {name}")
    if not (alarms or reply.requests or reply.invites):
        print("Nobody waits, and no invitation is out.")
    return EXIT_OK


def _approve(options: argparse.Namespace) -> int:
    return _decide(options, approve=True, role=Role(options.role))


def _block(options: argparse.Namespace) -> int:
    return _decide(options, approve=False, role=Role.GUEST)


def _decide(options: argparse.Namespace, *, approve: bool, role: Role) -> int:
    by_id = ".person." in options.code
    request = DeskRequest(
        key=options.code if by_id else None, code="" if by_id else options.code[:64], approve=approve, role=role
    )
    entry = ask(options.home, "decide", request).people[0]
    print(json.dumps(shown(entry)) if options.json else person_line(entry))
    return EXIT_OK


def _invite(options: argparse.Namespace) -> int:
    wish = InviteWish(
        channel=channel_of(options.channel),
        account=options.account,
        role=Role(options.role),
        name=options.name,
        until=ends(options.time),
    )
    reply = ask(options.home, "invite", DeskRequest(invite=wish))
    if options.json:
        assert reply.expires is not None
        print(json.dumps({"code": reply.code, "expires": reply.expires.isoformat(), "channel": options.channel}))
    else:
        print(f"/pair {reply.code}")
    return EXIT_OK

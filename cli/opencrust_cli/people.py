"""``opencrust people``: who may speak on which channel."""

import argparse
import json
from typing import Any

from opencrust.access.desk import DeskRequest, PersonChange, PersonEntry
from opencrust.access.people import PersonId, Role
from opencrust_cli import channel_policy
from opencrust_cli.desk import ROLES, ask, channel_of, ends, one_of, person_line
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.family import Family

ABOUT = """\
Who may speak with your assistant on Telegram, Discord and the other channels. A person is known by channel, account
(your bot there) and user id together: the same number on another channel is somebody else.

  operator   it is their house too: approves tools, pairs strangers, stops turns
  user       may chat, and use tools
  guest      may chat; tools with effects are not for them

Strangers come onto the list by a code: see `opencrust pair --help`. Every change holds within a second."""
SET = """\
Change a person. What you do not give stays as it is.

examples:
  opencrust people set Anna --role guest --expires 30d
  opencrust people set Anna --forever
  opencrust people set 123456 --unblock"""
ADD = """\
Put somebody on a channel's list by the user id there, without a code.

example:
  opencrust people add telegram 7001001 123456 --name Anna"""
_WHO = "their key, name or user id, as `opencrust people list` shows it"


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    action = Family(commands, "people", "who may speak on channels", ABOUT).action
    listing = action("list", "show everybody who is or was on a list", _list)
    listing.add_argument("--channel", help="only this one")
    change = action("set", "change a person", _set, SET)
    change.add_argument("who", help=_WHO)
    _facts(change)
    change.add_argument("--forever", action="store_true", help="without an end")
    change.add_argument("--unblock", action="store_true", help="let them speak again")
    add = action("add", "put somebody on a list by user id", _add, ADD)
    add.add_argument("channel")
    add.add_argument("account", help="your bot's id there")
    add.add_argument("user", help="their id there")
    _facts(add)
    block = action("block", "drop everything from a person", _block)
    block.add_argument("who", help=_WHO)
    remove = action("remove", "take a person off: a stranger again, who may ask again", _remove)
    remove.add_argument("who", help=_WHO)
    channel_policy.arguments(action("policy", channel_policy.HELP, channel_policy.run, channel_policy.POLICY))


def _facts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=ROLES)
    parser.add_argument("--name", help="what you call them")
    parser.add_argument("--expires", metavar="TIME", help="12h, 30d, 8w from now")


def _list(options: argparse.Namespace) -> int:
    channel = channel_of(options.channel) if options.channel else None
    people = ask(options.home, "people", DeskRequest(channel=channel)).people
    if options.json:
        print(json.dumps({"people": [shown(entry) for entry in people]}))
    elif not people:
        print("Nobody is on a list yet: see `opencrust pair --help`.")
    for entry in () if options.json else people:
        print(person_line(entry))
    return EXIT_OK


def _set(options: argparse.Namespace) -> int:
    if options.forever and options.expires:
        raise CommandError("--forever and --expires contradict each other", EXIT_USAGE)
    change = _change(options, forever=options.forever, blocked=False if options.unblock else None)
    entry = one_of(options.home, options.who)
    return _tell(options, ask(options.home, "set", DeskRequest(key=entry.key, change=change)).people[0])


def _add(options: argparse.Namespace) -> int:
    person = PersonId(channel=channel_of(options.channel), account=options.account, user=options.user)
    request = DeskRequest(change=_change(options, id=person))
    return _tell(options, ask(options.home, "set", request).people[0])


def _block(options: argparse.Namespace) -> int:
    entry = one_of(options.home, options.who)
    request = DeskRequest(key=entry.key, change=PersonChange(blocked=True))
    return _tell(options, ask(options.home, "set", request).people[0])


def _remove(options: argparse.Namespace) -> int:
    entry = one_of(options.home, options.who)
    ask(options.home, "remove", DeskRequest(key=entry.key))
    print(json.dumps({"removed": entry.key}) if options.json else f"{entry.key} is off the list.")
    return EXIT_OK


def _change(options: argparse.Namespace, **more: Any) -> PersonChange:
    role = Role(options.role) if options.role else None
    return PersonChange(role=role, name=options.name, expires=ends(options.expires), **more)


def _tell(options: argparse.Namespace, entry: PersonEntry) -> int:
    print(json.dumps(shown(entry)) if options.json else person_line(entry))
    return EXIT_OK


def shown(entry: PersonEntry) -> dict[str, Any]:
    """A person in JSON."""
    return entry.model_dump(mode="json")

"""``opencrust channels policy``, and the same as ``opencrust people policy``: who is answered on a channel."""

import argparse
import json
from typing import Any

from opencrust.access.desk import ChannelEntry, DeskRequest
from opencrust.access.people import ChannelPolicy, DmPolicy, GroupPolicy
from opencrust_cli.desk import ask, channel_of
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError

HELP = "who is answered on a channel"
POLICY = """\
Who is answered on a channel: of private messages (--dm) and in groups (--groups). Without either it is shown.

  --dm pairing      people on the list; a stranger is offered a code that you can approve (the default)
  --dm allowlist    people on the list; a stranger is dropped in silence (an invitation still lets in)
  --dm open         anybody, as a guest
  --groups disabled nobody (the default)
  --groups mention  people on the list, when they mention the bot or answer it
  --groups open     anybody who mentions it; strangers as guests

example:
  opencrust channels policy telegram --dm allowlist --groups mention"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its own arguments."""
    parser.add_argument("channel", nargs="?", help="all of them if not given")
    parser.add_argument("--dm", choices=list(DmPolicy))
    parser.add_argument("--groups", choices=list(GroupPolicy))


def run(options: argparse.Namespace) -> int:
    """Show it, or set it."""
    channel = channel_of(options.channel) if options.channel else None
    found = ask(options.home, "policy", DeskRequest(channel=channel)).channels
    if options.dm or options.groups:
        if channel is None:
            raise CommandError("say of which channel: opencrust channels policy telegram --dm allowlist", EXIT_USAGE)
        before = found[0].policy
        policy = ChannelPolicy(
            dm=DmPolicy(options.dm) if options.dm else before.dm,
            group=GroupPolicy(options.groups) if options.groups else before.group,
        )
        found = ask(options.home, "policy", DeskRequest(channel=channel, policy=policy)).channels
    if options.json:
        print(json.dumps({"channels": [_shown(entry) for entry in found]}))
        return EXIT_OK
    for entry in found:
        alarm = f"  {entry.wrong_codes} wrong codes within an hour: somebody guesses" if entry.alarm else ""
        dm, group = entry.policy.dm.value, entry.policy.group.value
        print(f"{entry.channel:<10}  private: {dm:<10}  groups: {group:<10}{alarm}")
    return EXIT_OK


def _shown(entry: ChannelEntry) -> dict[str, Any]:
    policy = {"dm": entry.policy.dm.value, "group": entry.policy.group.value}
    return {"channel": entry.channel, **policy, "wrong_codes": entry.wrong_codes, "alarm": entry.alarm}

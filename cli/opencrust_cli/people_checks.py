"""What `opencrust doctor` looks at of those who may speak."""

from collections.abc import Iterator

from opencrust.access.desk import ChannelEntry, PersonEntry
from opencrust.access.people import DmPolicy, GroupPolicy, Role
from opencrust_cli.desk import ask
from opencrust_cli.errors import CommandError
from opencrust_cli.findings import Finding
from opencrust_cli.home import Home


def look(home: Home) -> Iterator[Finding]:
    """Everything about people and policies, where OpenCrust runs."""
    try:
        people, channels = ask(home, "people").people, ask(home, "list").channels
    except CommandError as error:
        yield Finding("people", None, f"not looked at: {error}")
        return
    yield from judge(people, channels)


def judge(people: list[PersonEntry], channels: list[ChannelEntry]) -> Iterator[Finding]:
    """What is wrong, or weaker than it could be. Pure."""
    damaged = [entry.key for entry in people if entry.id is None]
    active = sum(entry.active for entry in people)
    operators = sum(entry.active and entry.role is Role.OPERATOR for entry in people)
    yield Finding(
        "people",
        not damaged,
        f"damaged records, which let nobody in: {', '.join(damaged[:3])}"
        if damaged
        else f"{active} on the lists of channels, {operators} of them operators",
        "`opencrust people remove KEY`, and pair them again" if damaged else "",
    )
    for entry in channels:
        if entry.alarm:
            yield Finding(
                f"pairing on {entry.channel}",
                False,
                f"{entry.wrong_codes} wrong codes within an hour: somebody may be guessing",
                f"`opencrust channels policy {entry.channel} --dm allowlist` drops strangers in silence",
            )
        opened = {
            where: narrower
            for where, is_open, narrower in (
                ("private messages", entry.policy.dm is DmPolicy.OPEN, "--dm pairing"),
                ("groups", entry.policy.group is GroupPolicy.OPEN, "--groups mention"),
            )
            if is_open
        }
        if opened:
            yield Finding(
                f"rules of {entry.channel}",
                None,
                f"anybody is answered in {' and '.join(opened)}, as a guest",
                f"`opencrust channels policy {entry.channel} {' '.join(opened.values())}` closes it",
            )

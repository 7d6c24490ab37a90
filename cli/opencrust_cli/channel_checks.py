"""What `opencrust doctor` and `opencrust status` look at of the channels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from opencrust.bus import Bus, BusError
from opencrust.bus.survey import Report, survey
from opencrust.config import ChannelMode, ChannelSettings
from opencrust_cli import dlq
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import CommandError
from opencrust_cli.findings import Finding
from opencrust_cli.home import Home


def look(home: Home, channels: Sequence[ChannelSettings]) -> Iterator[Finding]:
    """Everything about the channels, where OpenCrust runs."""

    async def ask(bus: Bus) -> tuple[list[Report], list[dict[str, Any]] | None]:
        reports = await survey(bus, [f"channel-{channel.name}" for channel in channels])
        try:
            return reports, await dlq.collect(bus)
        except (CommandError, BusError):
            return reports, None

    try:
        reports, letters = with_bus(home, ask)
    except CommandError as error:
        yield Finding("channels", None, f"not looked at: {error}")
        return
    yield from judge(channels, reports)
    yield from judge_letters(letters)


def judge(channels: Sequence[ChannelSettings], reports: Iterable[Report]) -> Iterator[Finding]:
    """What is wrong with the channels, or weaker than it could be. Pure."""
    if not channels:
        yield Finding("channels", None, "none is configured", "`opencrust channels add telegram`, for instance")
        return
    by_name: dict[str, list[Report]] = {channel.name: [] for channel in channels}
    for report in reports:
        by_name.get(report.service.removeprefix("channel-"), []).append(report)
    for channel in channels:
        if channel.enabled:
            yield from _channel(channel, by_name[channel.name])
        else:
            yield Finding(channel.name, None, "is switched off", f"`opencrust channels add {channel.name}` again")


def _channel(channel: ChannelSettings, replicas: list[Report]) -> Iterator[Finding]:
    name = channel.name
    if not replicas:
        yield Finding(
            name,
            False,
            "is configured, and does not run",
            f"see `opencrust status` and `opencrust logs channel-{name}`",
        )
        return
    links = [(report, str(report.facts.get("link", ""))) for report in replicas]
    trouble = [found for report, link in links if (found := _trouble(name, link, report)) is not None]
    listening = [report for report, link in links if link not in ("idle", "not configured")]
    if trouble:
        yield trouble[0]
    elif not listening:
        yield Finding(name, False, "no replica listens", f"wait ten seconds; then see `opencrust logs channel-{name}`")
    else:
        facts = listening[0].facts
        who = facts.get("bot") or facts.get("account") or "?"
        yield Finding(name, True, f"connected as {who}, {len(replicas)} running")
    yield from _weaker(channel, replicas)


def _trouble(name: str, link: str, report: Report) -> Finding | None:
    """What is wrong with the link of one replica."""
    reason = str(report.facts.get("link_reason") or "no reason is known")
    if link == "refused":
        return Finding(
            name,
            False,
            f"the platform refuses us: {reason}",
            f"put a new token in with `opencrust vault rotate channel.{name}.token`, or add the channel anew",
        )
    if link == "deaf":
        return Finding(
            name, False, f"connected, but deaf: {reason}", "it begins anew by itself; if not, look at the network"
        )
    if link == "not configured":
        return Finding(name, False, f"{report.instance} has not heard of its settings", "see `opencrust status`")
    if "another program listens" in reason and link == "connecting":
        return Finding(
            name,
            False,
            "another program listens with the same token, and both get half of what is written",
            "stop it, or take the token from it: `/revoke` at @BotFather, then `opencrust vault rotate "
            f"channel.{name}.token`",
        )
    if link == "connecting":
        return Finding(name, False, f"not connected: {reason}", f"`opencrust logs channel-{name}` shows more")
    return None


def _weaker(channel: ChannelSettings, replicas: list[Report]) -> Iterator[Finding]:
    name = channel.name
    totals: Counter[str] = Counter()
    for report in replicas:
        totals.update({key: value for key, value in report.facts.items() if type(value) is int})
    accounts = {str(report.facts["account"]) for report in replicas if report.facts.get("account")}
    versions = {report.version for report in replicas}
    modes = {str(report.facts["mode"]) for report in replicas if report.facts.get("mode")}
    for what, values in (("accounts", accounts), ("versions", versions), ("modes", modes)):
        if len(values) > 1:
            yield Finding(
                f"replicas of {name}",
                False,
                f"they have different {what}: {', '.join(sorted(values))}",
                "restart those that are behind",
            )
    if channel.mode is ChannelMode.POLL and totals["updates_webhook_removed"]:
        yield Finding(
            f"webhook of {name}",
            None,
            f"somebody set a webhook {totals['updates_webhook_removed']} times; this channel polls, so it was removed",
            "another program has the token: find it, or `/revoke` at @BotFather",
        )
    if any(report.facts.get("reads_all_of_groups") is False for report in replicas):
        yield Finding(
            f"groups of {name}",
            None,
            "privacy mode is on: in groups the bot sees commands, answers to it, and what names it",
            "that is enough for most; `/setprivacy` at @BotFather shows it all",
        )
    if any(report.facts.get("reads_all_texts") is False for report in replicas):
        yield Finding(
            f"texts of {name}",
            None,
            "it may read only private messages and those that name it",
            "switch on Message Content Intent in the developer portal",
        )
    for key, what in (
        ("unknown", "replies were sent whose end nobody knows: somebody may have seen one twice"),
        ("updates_forged", "calls without our secret came to the webhook, and were refused"),
        ("in_buried", "events could not be read: `opencrust dlq list` shows them"),
        ("in_passed_by", "events could not be read, nor kept"),
    ):
        if totals[key]:
            yield Finding(f"{name} since its start", None, f"{totals[key]} {what}", f"opencrust logs channel-{name}")


def judge_letters(letters: list[dict[str, Any]] | None) -> Iterator[Finding]:
    """Dead letters that wait for somebody. None: they could not be asked for. Pure."""
    if letters is None:
        yield Finding("dead letters", None, "not looked at: their service does not answer", "see `opencrust status`")
    elif letters:
        origins = Counter(str(letter["origin"]) for letter in letters)
        listed = ", ".join(f"{count} of {origin}" for origin, count in origins.most_common(4))
        yield Finding(
            "dead letters",
            None,
            f"{len(letters)} wait: {listed}",
            "`opencrust dlq list` says why; `opencrust dlq redrive NUMBER` sends one again when the cause is gone",
        )
    else:
        yield Finding("dead letters", True, "none")


def lines(channels: Sequence[ChannelSettings], reports: list[Report]) -> list[str]:
    """What is wrong with channels, a line each, for `opencrust status`. Pure."""
    found = [finding for finding in judge(channels, reports) if finding.ok is False] if channels else []
    return [f"{finding.name}: {finding.detail} ({finding.advice})" for finding in found]

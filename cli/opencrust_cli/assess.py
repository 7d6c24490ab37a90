"""``opencrust assess``: how suspicious a text is, and why. Needs no running OpenCrust."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from opencrust_cli.errors import EXIT_OK, CommandError

if TYPE_CHECKING:
    from opencrust_agent.assess import Assessment, Assessor

ASSESS = """\
Say how much a text looks like an attempt to take a model over (prompt injection), and why. The same check runs on
everything that reaches your assistant. It works offline, without a running OpenCrust.

  opencrust assess "Ignore all previous instructions"
  opencrust assess --source web - < page.txt
  opencrust assess --jsonl < texts.jsonl

The source decides what is done: a person's own words (user) are at most flagged, what a tool, a page or a file brought
can be replaced by a notice or blocked. --jsonl reads lines {"text": …, "source": …} and writes for each, in the same
order, {"score": 0…1, "verdict": "pass|flag|replace|block"}, or {"error": …} for a line that is no such object.
A check like this misses attacks; what your assistant may do is decided by permissions, not by it."""

_MEANING = {
    "pass": "nothing is done",
    "flag": "it is marked and put on the record, and goes on",
    "replace": "the model sees a notice instead of it; you can open it",
    "block": "the model never sees it",
}


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    help = "how suspicious a text is, and why"
    parser = commands.add_parser("assess", help=help, description=ASSESS, formatter_class=form)
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the text; - reads it from standard input")
    parser.add_argument("--source", default="user", help="user, tool, web, file, plugin … (default: user)")
    parser.add_argument("--stranger", action="store_true", help="the user is somebody you did not pair")
    parser.add_argument("--jsonl", action="store_true", help="assess many texts, one JSON object a line")
    parser.add_argument("--json", action="store_true", help="the answer as JSON")
    parser.set_defaults(run=_assess)


def _assess(options: argparse.Namespace) -> int:
    if options.jsonl and options.text is not None:
        raise CommandError("--jsonl reads texts from standard input: leave TEXT out", 2)
    if not options.jsonl and options.text is None:
        raise CommandError('say which text: opencrust assess "TEXT", or - to read it from standard input', 2)
    assessor = _load(options)
    if options.jsonl:
        for answer in answers(assessor, sys.stdin.buffer):
            print(json.dumps(answer), flush=True)
        return EXIT_OK
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if options.text == "-" else options.text
    found = assessor.assess(text, options.source, trusted=not options.stranger)
    if options.json:
        print(json.dumps(_as_json(found)))
    else:
        print("\n".join(explain(found, options.source)))
    return EXIT_OK


def _load(options: argparse.Namespace) -> "Assessor":
    try:
        from opencrust_agent import assess
    except ImportError:
        raise CommandError("the agent's package is not installed beside this command, and the check is in it") from None
    second = None
    try:
        second = assess.installed()
    except assess.SecondOpinionError as error:
        print(f"opencrust assess: the second opinion is not used: {error}", file=sys.stderr)
    try:
        return assess.load(options.home.path / "state" / "agent", second)
    except assess.RulesError as error:
        raise CommandError(f"the rules in {options.home.path}/state/agent cannot be used: {error}") from None


def answers(assessor: "Assessor", lines: Iterable[bytes]) -> Iterator[dict[str, object]]:
    """One answer for each line, in order, as soon as it is read. Empty lines count as lines."""
    for number, line in enumerate(lines, 1):
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            yield {"error": f"line {number} is not JSON"}
            continue
        text = given.get("text") if isinstance(given, dict) else None
        source = given.get("source", "user") if isinstance(given, dict) else None
        if not isinstance(text, str) or not isinstance(source, str):
            yield {"error": f'line {number} is not an object with a "text" and a "source", both strings'}
            continue
        found = assessor.assess(text, source)
        yield {"score": found.score, "verdict": found.verdict.value}


def explain(found: "Assessment", source: str) -> Iterator[str]:
    """The answer in plain words."""
    yield f"{found.verdict.value}: {_MEANING[found.verdict.value]} (source: {_printable(source)})"
    yield f"score {found.score:.3f} of 1"
    if found.codec:
        yield f"part of it is written in another form ({found.codec}); that was read too"
    for finding in found.findings:
        yield f"- it {finding.why}: “{_printable(finding.span)}” [{finding.rule}]"
    if not found.findings:
        yield "- no rule matched; the score comes from its words"
    if found.verdict.value != "pass" and found.passage:
        yield f"most suspicious passage: “{_printable(found.passage[:300])}”"
    if not found.complete:
        yield "the text is longer than what is read at once: its end was not assessed"


def _as_json(found: "Assessment") -> dict[str, object]:
    return {
        "score": found.score,
        "verdict": found.verdict.value,
        "codec": found.codec,
        "complete": found.complete,
        "findings": [{"rule": f.rule, "why": f.why, "span": f.span, "codec": f.codec} for f in found.findings],
    }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)

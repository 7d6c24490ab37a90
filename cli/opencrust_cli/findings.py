"""What a doctor found, and how it is shown."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from opencrust_cli.errors import EXIT_FAILED, EXIT_OK


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `ok` is None where it is weaker than it could be, but works."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


def show(found: Iterable[Finding], *, as_json: bool) -> int:
    """Print them; the exit code says whether something is wrong."""
    findings = list(found)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            mark = {True: "ok  ", None: "note", False: "BAD "}[finding.ok]
            advice = f"\n      → {finding.advice}" if finding.advice else ""
            print(f"{mark}  {finding.name}: {finding.detail}{advice}")
    return EXIT_FAILED if any(finding.ok is False for finding in findings) else EXIT_OK

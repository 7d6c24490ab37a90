"""Between sanitise and compose: every text of a message is assessed, and what was found is on the record.

The owner and those he paired may write anything: what looks like an attack is flagged and audited, and answered. Of a
guest or an unknown sender it is not answered. Neither log nor audit record holds a word of the text: numbers, rules'
names and the message's place in its stream, by which the operator finds it.
"""

import asyncio
import json
import logging
from dataclasses import dataclass

from opencrust.bus import Bus, BusError, subjects
from opencrust.bus.drain import Work
from opencrust.contracts import InboundMessage, Trust
from opencrust.contracts.messages import now
from opencrust.telemetry import semconv
from opencrust.telemetry.spans import internal
from opencrust_agent.assess import Assessor, Verdict

log = logging.getLogger(__name__)

BLOCKED = (
    "I did not answer this message: it looks like an attempt to take this assistant over. It is kept; the operator can"
    " look at it."
)
_TRUSTED = (Trust.OWNER, Trust.USER)


@dataclass(frozen=True, slots=True)
class Screened:
    """What was found in a message: its worst text counts."""

    score: float
    verdict: Verdict
    rules: tuple[str, ...]
    """Ids of the rules that matched there."""
    codec: str

    @property
    def bucket(self) -> str:
        """The score for telemetry, in tenths: ``0.8`` is 0.8 to 0.9."""
        return f"{int(min(self.score, 0.999) * 10) / 10:.1f}"


def screen(message: InboundMessage, assessor: Assessor) -> Screened:
    """Assess the text and every turn that came with it."""
    trusted = message.trust in _TRUSTED
    texts = [message.text, *(turn.text for turn in message.context)]
    worst = max((assessor.assess(text, "user", trusted=trusted) for text in texts), key=lambda found: found.score)
    return Screened(worst.score, worst.verdict, tuple(finding.rule for finding in worst.findings), worst.codec)


class Screen:
    """The stage of a turn."""

    def __init__(self, bus: Bus, assessor: Assessor) -> None:
        self._bus = bus
        self._assessor = assessor
        self.flagged = 0

    async def judge(self, message: InboundMessage, work: Work) -> Verdict:
        """What is to be done with the message. Logs and audits every verdict but ``pass``."""
        with internal("assess") as span:
            if len(message.text) + sum(len(turn.text) for turn in message.context) <= self._assessor.at_once:
                found = screen(message, self._assessor)
            else:
                found = await asyncio.to_thread(screen, message, self._assessor)
            span.set_attribute(semconv.OPENCRUST_ASSESS_VERDICT, found.verdict.value)
            span.set_attribute(semconv.OPENCRUST_ASSESS_BUCKET, found.bucket)
        if found.verdict is Verdict.PASS:
            return found.verdict
        self.flagged += 1
        log.warning(
            "message %d of conversation %s: %s, score %s, rules: %s",
            work.message.seq,
            work.conv,
            found.verdict.value,
            found.bucket,
            ", ".join(found.rules) or "none",
        )
        await self._audit(message, work, found)
        return found.verdict

    async def _audit(self, message: InboundMessage, work: Work, found: Screened) -> None:
        record = {
            "v": 1,
            "event": "assess",
            "at": now().isoformat(),
            "channel": work.channel,
            "conversation": work.conv,
            "seq": work.message.seq,
            "trust": message.trust.value,
            "verdict": found.verdict.value,
            "score": found.score,
            "rules": found.rules,
            "codec": found.codec,
            "model": self._assessor.version,
        }
        try:
            data = json.dumps(record).encode()
            await self._bus.publish_stored(subjects.audit("agent"), data, message_id=f"assess:{work.message.seq}")
        except BusError as error:
            log.error("message %d: the audit record could not be stored: %s", work.message.seq, error)

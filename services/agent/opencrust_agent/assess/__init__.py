"""Is a text an attempt to take the model over? A score, a verdict, and why.

Every text that reaches the model is assessed when it comes in: what a person writes, and what a tool, a page, a file or
a plugin brings. The way of a text::

    normalise   a copy in which what looks the same is the same
    decode      what is written in it in another alphabet (base64, rot13, s p a c e d …)
    features    words → concepts (in some 25 languages) → rules; hashed words and word parts; shape; chunk by chunk
    model       one linear model on top of those: log-odds of a chunk; the worst chunk of the worst reading counts
    second      optional: what a small encoder says to the worst of it, if somebody installed one
    verdict     pass, flag, replace or block, by where the text came from

No detector is a boundary: texts exist that pass it. It makes attacks visible, taints what they touched and takes the
plain ones out; what may be *done* is decided by policy on tool calls, which reads no text.

Rules are data (``data/rules.json``, replaceable in the agent's state directory), weights are data (``data/model.bin``,
made by ``services/agent/training``). Nothing but ``second`` needs more than the standard library and pydantic; every
step is linear in the length of the text.
"""

from opencrust_agent.assess.assessor import LIMIT, RULES_FILE, Assessment, Assessor, Finding, load
from opencrust_agent.assess.rules import RulesError
from opencrust_agent.assess.second import SecondOpinionError, installed
from opencrust_agent.assess.verdict import Verdict

__all__ = [
    "LIMIT",
    "RULES_FILE",
    "Assessment",
    "Assessor",
    "Finding",
    "RulesError",
    "SecondOpinionError",
    "Verdict",
    "installed",
    "load",
]

"""The guard: the last stage before anything leaves the agent: replies, their live pieces, tool arguments, events, logs.

It looks for three things, and none of them by what a text seems to want:

    secrets   the vault's values, by their fingerprints, in every dress of :mod:`.disguise`
              → hidden; a tool call with one in its arguments is not made
    canary    a random word that stands only in the system prompt (:mod:`.canary`)
              → the reply is not sent, nor a call with it made
    links     images that load by themselves and links that could carry data (:mod:`.links`)
              → defanged

Everything here is pure: what was found is returned as numbers and kinds, and whoever calls writes the audit record.
Values too weak for a fingerprint (:data:`opencrust.credentials.fingerprints.MIN_BITS`) cannot be found.
"""

from opencrust_agent.guard.canary import Canary
from opencrust_agent.guard.guard import BLOCKED, Finding, Guard, Guarded, Kind
from opencrust_agent.guard.links import Named
from opencrust_agent.guard.stream import GuardedLive

__all__ = ["BLOCKED", "Canary", "Finding", "Guard", "Guarded", "GuardedLive", "Kind", "Named"]

"""The pairing desk: the one place that writes who may speak on which channel.

::

    wire      pair.req.<service>.<op> from adapters and the command line: what each service may ask, and for whom
    desk      what may be asked: request, redeem, decide; invite, change, remove, policy
    tries     wrong codes: who is locked, which channel is alarmed
    people    the bucket ``access``: people, policies, notices
    waiting   the bucket ``pairing``: requests, invitations

Codes, and what follows from them, are pure and in :mod:`opencrust.access.pairing`. Every change is recorded in the
audit before it happens. Any number of gateways serve the desk: everything that matters is a compare-and-set on the bus.
A change that takes two writes is first claimed in the record that waits (approved, or redeemed by whom), then carried
out, then the record is deleted. A desk that dies in between leaves the claim, and whoever comes next (the same person
again, or a gateway that starts) carries it out.
"""

from opencrust_gateway.pairing.desk import Desk, DeskError
from opencrust_gateway.pairing.wire import Wire

__all__ = ["Desk", "DeskError", "Wire"]

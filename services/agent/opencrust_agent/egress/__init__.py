"""Egress: every connection that a tool or a plugin makes to the outside goes through here. (The model layer and the
bus have their own: their addresses are the operator's.)

The way of one request, again at every redirect::

    parse_url      one strict reading of the URL; what any two parsers could read differently is refused
    Allowed        the operator's own hosts and networks, from the configuration; never the model's
    resolve        the name's addresses, all of them
    check          each must be public (or allowed); one bad answer refuses the name: DNS rebinding and mixed answers
    connect        to exactly the addresses that were checked; Host header and TLS name stay the name
    read           up to a size, counted after decompression as well, before a deadline

Nothing is kept between requests: no cookies, no pooled connections, no proxy from the environment, no netrc.

    egress = Egress(lambda: settings.egress)
    page = await egress.fetch("https://example.org/", limit=1 << 20)
"""

from opencrust_agent.egress.addresses import why_not_public
from opencrust_agent.egress.allowed import Allowed
from opencrust_agent.egress.client import Egress, Fetched
from opencrust_agent.egress.errors import EgressError, Refused
from opencrust_agent.egress.headers import check_headers
from opencrust_agent.egress.resolver import Resolver, SystemResolver
from opencrust_agent.egress.rules import HostRule, below, matching
from opencrust_agent.egress.url import Target, parse_url

__all__ = [
    "Allowed",
    "Egress",
    "EgressError",
    "Fetched",
    "HostRule",
    "Refused",
    "Resolver",
    "SystemResolver",
    "Target",
    "below",
    "check_headers",
    "matching",
    "parse_url",
    "why_not_public",
]

"""Which addresses are the public internet. Everything else is somebody's inside, ours first of all.

Written as tables of prefixes and not by :attr:`ipaddress.IPv4Address.is_global`, whose meaning changed between Python
releases. Sources: the IANA special-purpose address registries (RFC 6890 and its updates).
"""

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_V4 = {
    "0.0.0.0/8": "this host (0.0.0.0/8)",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local, where clouds keep their metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "for documentation",
    "192.31.196.0/24": "reserved",
    "192.52.193.0/24": "reserved",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "reserved",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_V6 = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::/96": "an IPv4 address in IPv6 form",
    "::ffff:0:0/96": "an IPv4 address in IPv6 form",
    "::ffff:0:0:0/96": "an IPv4 address in IPv6 form",
    "64:ff9b::/96": "an IPv4 address behind NAT64",
    "64:ff9b:1::/48": "an IPv4 address behind NAT64",
    "100::/64": "discard-only",
    "2001::/32": "a Teredo tunnel",
    "2001:2::/48": "for benchmarks",
    "2001:10::/28": "an ORCHID, no address",
    "2001:20::/28": "an ORCHID, no address",
    "2001:db8::/32": "for documentation",
    "2002::/16": "an IPv4 address in a 6to4 tunnel",
    "2620:4f:8000::/48": "reserved",
    "3fff::/20": "for documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "private",
    "ff00::/8": "multicast",
}
_NOT_PUBLIC: tuple[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str], ...] = tuple(
    (ipaddress.ip_network(prefix), reason) for prefix, reason in (*_V4.items(), *_V6.items())
)
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


def why_not_public(address: Address) -> str:
    """What kind of address it is; empty where it is a public one."""
    for network, reason in _NOT_PUBLIC:
        if address in network:
            return reason
    return "" if address.version == 4 or address in _GLOBAL_V6 else "reserved"


def is_home(address: Address) -> bool:
    """Private to a home or an office (RFC 1918, RFC 4193): what an operator may allow by a host's name alone."""
    return any(address in network for network in _PRIVATE)

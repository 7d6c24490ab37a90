"""Which headers a caller of ours may set. The rest are the connection's, or would carry somebody's authority."""

import re
from collections.abc import Mapping

from opencrust_agent.egress.errors import Refused

OURS = frozenset({
    "host", "connection", "keep-alive", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect",
    "via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "authorization",
    "proxy-authorization", "proxy-connection", "cookie", "cookie2", "set-cookie", "accept-encoding", "origin",
    "referer", "metadata", "x-aws-ec2-metadata-token", "metadata-flavor", "x-http-method", "x-http-method-override",
    "x-method-override", "x-original-url", "x-rewrite-url",
})  # fmt: skip
MAX_HEADERS = 32
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"[\t\x20-\x7e]{0,4096}")


def check_headers(headers: Mapping[str, str]) -> None:
    """Headers that a plugin or a tool wants to send (RFC 9110 §5 for their form).

    Raises:
        Refused: one of them is not the caller's to set, or is none.
    """
    if len(headers) > MAX_HEADERS:
        raise Refused(f"more than {MAX_HEADERS} headers")
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Refused("a header's name or value has characters that it may not have")
        if name.lower() in OURS or name.lower().startswith(("proxy-", "sec-")):
            raise Refused(f"the header {name.lower()} cannot be set")

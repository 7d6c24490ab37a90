"""Browser safety: who is calling by which name, and from which page. Pure.

A page from elsewhere can make the operator's browser send requests to loopback. Three things tell it apart:
the Host header (a rebound DNS name is not in our list), the Origin header, and Sec-Fetch-Site, which also
marks pages on another port of this machine: those count as "same site", so the SameSite cookie alone would go
along.
"""

from collections.abc import Sequence

from opencrust_gateway.errors import ApiError

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_OWN_PAGE = ("", "same-origin", "none")


def check_host(shown: Sequence[str], allowed: frozenset[str]) -> None:
    """Refuse a request that calls us by a name that is not ours (DNS rebinding), by none, or by two."""
    if len(shown) != 1 or shown[0].lower() not in allowed:
        raise ApiError(
            403,
            "host_not_allowed",
            "this gateway does not answer to that Host; use the address in the login link, "
            "or add yours to OPENCRUST_GATEWAY_PUBLIC_URLS",
        )


def check_origin(shown: Sequence[str], site: str, *, allowed: frozenset[str], navigation: bool) -> None:
    """Refuse a request that a page from elsewhere caused.

    Parameters:
        shown: the values of Origin; a client that is no browser sends none. site: the value of
        Sec-Fetch-Site, or "". navigation: the person opens a page of ours (GET, and Sec-Fetch-Mode says so):
        then a link from elsewhere is
            fine, since the page behind it shows and does nothing by itself.
    """
    if any(origin not in allowed for origin in shown) or len(shown) > 1:
        raise ApiError(403, "origin_not_allowed", "this request comes from a page of another origin")
    if site not in _OWN_PAGE and not navigation:
        raise ApiError(403, "origin_not_allowed", "this request comes from a page of another site or port")


def check_cookie_use(shown: Sequence[str], *, changes: bool) -> None:
    """A cookie goes along by itself, so a request that changes something by it must show our own Origin."""
    if changes and not shown:
        raise ApiError(403, "origin_missing", "a request with the session cookie must carry an Origin header")

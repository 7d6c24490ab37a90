"""The web app's files: read once from the package, kept in memory, served with an ETag."""

import hashlib
from dataclasses import dataclass
from importlib import resources

from aiohttp import web

from opencrust_gateway.errors import ApiError

_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
LOGIN_ASSETS = frozenset({"login.js", "style.css", "icon.svg"})
"""All that is served without a session."""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str


class Pages:
    """The handlers. Raises OSError at construction if the package is incomplete."""

    def __init__(self) -> None:
        self._files = {
            entry.name: _load(entry.name, entry.read_bytes())
            for entry in resources.files("opencrust_gateway").joinpath("web").iterdir()
            if entry.name.rpartition(".")[2] in _TYPES
        }
        missing = ({"index.html", "login.html"} | LOGIN_ASSETS) - self._files.keys()
        if missing:
            raise FileNotFoundError(f"the web app is incomplete: {', '.join(sorted(missing))}")

    async def app(self, request: web.Request) -> web.StreamResponse:
        """GET /."""
        return self._serve(request, "index.html")

    async def login(self, request: web.Request) -> web.StreamResponse:
        """GET /login."""
        return self._serve(request, "login.html")

    async def icon(self, request: web.Request) -> web.StreamResponse:
        """GET /favicon.ico."""
        return self._serve(request, "icon.svg")

    async def login_asset(self, request: web.Request) -> web.StreamResponse:
        """GET /login/{asset}: only what the login page needs."""
        name = request.match_info["asset"]
        if name not in LOGIN_ASSETS:
            raise ApiError(404, "not_found", "no such file")
        return self._serve(request, name)

    async def app_asset(self, request: web.Request) -> web.StreamResponse:
        """GET /app/{asset}."""
        return self._serve(request, request.match_info["asset"])

    def _serve(self, request: web.Request, name: str) -> web.StreamResponse:
        file = self._files.get(name)
        if file is None:
            raise ApiError(404, "not_found", "no such file")
        headers = {"ETag": f'"{file.etag}"', "Cache-Control": "no-cache"}
        if any(tag.value == file.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        charset = None if file.content_type.startswith("image/") else "utf-8"
        return web.Response(body=file.body, content_type=file.content_type, charset=charset, headers=headers)


def _load(name: str, body: bytes) -> _File:
    return _File(body, _TYPES[name.rpartition(".")[2]], hashlib.sha256(body).hexdigest()[:32])

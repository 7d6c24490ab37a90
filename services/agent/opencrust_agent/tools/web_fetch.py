"""``web_fetch``: a page of the public web as text."""

import asyncio
from typing import Any

from opencrust_agent.egress import Egress, EgressError, Fetched, Refused, Target
from opencrust_agent.tools.page import decoded, page_text
from opencrust_agent.tools.tool import Effect, ToolContext, ToolResult, ToolSpec

MAX_BODY = 2 * 1024 * 1024
PART = 12_000
"""Characters of one answer: with its links it stays below what the executor shows."""
SECONDS = 30.0
MAX_NAMED = 500
"""Characters of an address that are told."""
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = ("application/json", "application/xml", "application/javascript", "application/yaml", "application/x-yaml",
         "application/rss+xml", "application/atom+xml", "application/ld+json", "application/toml")  # fmt: skip


class WebFetch:
    """Fetches over :mod:`opencrust_agent.egress`; what it brings is strangers' text."""

    spec = ToolSpec(
        name="web_fetch",
        description="Fetch a page of the public web (http or https) and read it as text, with its links listed."
        " Long pages come in parts: ask for the next one with `start`.",
        parameters={
            "type": "object",
            "properties": {
                "url": {"type": "string", "minLength": 1, "maxLength": 4096},
                "start": {"type": "integer", "minimum": 0, "description": "character to begin at; 0 without it"},
            },
            "required": ["url"],
        },
        effects=frozenset({Effect.READ}),
        egress="public",
        taints=True,
        sensitive=frozenset({"url"}),
        source="web",
        timeout=SECONDS + 10,
    )

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """See the spec."""
        headers = {"Accept": "text/html, text/plain;q=0.9, */*;q=0.5", "Accept-Language": "en, *;q=0.5"}
        try:
            answer = await self._egress.fetch(
                arguments["url"],
                headers=headers,
                limit=MAX_BODY,
                seconds=SECONDS,
                permit=OneHost() if context.tainted else None,
            )
        except EgressError as error:
            return ToolResult(f"Not fetched: {error}", failed=True)
        text = await asyncio.to_thread(shown, answer, int(arguments.get("start", 0)))
        return ToolResult(
            text,
            failed=answer.status >= 400,
            origin=str(answer.url),
            summary=f"{answer.url.host}: HTTP {answer.status}, {len(answer.body)} bytes",
        )


class OneHost:
    """Refuses each hop to another host than the first one's (``www.`` aside): for tainted conversations.

    Policy judged the URL of the call. A stranger who is read here can name a page on a host that the person named, too,
    and where that page redirects to whatever its query says, the data in it would leave for a host that nobody was
    asked about. The model is told where the page leads, and a call that goes there is judged like any other.
    """

    def __init__(self) -> None:
        self._first = ""

    def __call__(self, method: str, target: Target) -> None:
        """Raises:
        Refused: ``target`` is on another host.
        """
        host = target.host.removeprefix("www.")
        self._first = self._first or host
        if host != self._first:
            raise Refused(f"the page redirects to another host: {str(target)[:MAX_NAMED]} (it was not asked)")


def shown(answer: Fetched, start: int = 0) -> str:
    """An answer as the model sees it."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    head = [f"URL: {answer.url}"]
    if answer.status >= 400:
        head.append(f"The server answered with an error: HTTP {answer.status}.")
    if answer.cut:
        head.append(f"Only the first {MAX_BODY} bytes were read.")
    if kind == "application/pdf" or answer.body.startswith(b"%PDF-"):
        return "\n".join(
            [*head, f"It is a PDF of {len(answer.body)} bytes. PDFs cannot be read yet; look for an HTML version."]
        )
    if kind in _HTML or (not kind and answer.body.lstrip()[:1] == b"<"):
        page = page_text(decoded(answer.body, answer.headers.get("Content-Type", "")), str(answer.url))
        if page.title:
            head.append(f"Title: {page.title}")
        if page.hidden:
            head.append(f"({page.hidden} parts that a reader does not see were left out.)")
        links = [f"[{number}] {text}: {to}" for number, (text, to) in enumerate(page.links[:40], 1)]
        tail = ["", "Links:", *links] if links and not start else []
        return "\n".join([*head, "", *_part(page.text, start), *tail])
    if kind.startswith("text/") or kind in _TEXT or kind.endswith(("+json", "+xml")):
        return "\n".join([*head, "", *_part(decoded(answer.body, answer.headers.get("Content-Type", "")), start)])
    return "\n".join([*head, f"It is no text but {kind or 'of an unknown type'}, {len(answer.body)} bytes."])


def _part(text: str, start: int) -> list[str]:
    part = text[start : start + PART]
    if start and not part:
        return [f"(The text has only {len(text)} characters.)"]
    rest = len(text) - start - len(part)
    more = f"({rest} more characters: ask again with start={start + len(part)})"
    return [part or "(no text)", *([more] if rest > 0 else [])]

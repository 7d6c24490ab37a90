"""Slack's Web API through slack-sdk's client, with every retry of its own switched off."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from opencrust.credentials import Secret

DEFAULT_BASE: Final = "https://slack.com/api/"
CALL_SECONDS: Final = 20


@dataclass(frozen=True)
class Refusal(Exception):
    """Slack answered, and it is a no. ``error`` is Slack's own word for it, ``after`` in seconds."""

    status: int
    error: str = ""
    after: float = 0.0

    def __str__(self) -> str:
        return f"Slack answered {self.error or self.status}"


WALL: Final = (
    "something in Slack's place answers, and not as Slack does: a sign-in wall, a proxy, or a wrong --api-base"
)


class NoAnswer(Exception):
    """No answer came. ``sent``: the request may have arrived."""

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


class Api:
    """Calls of the Web API.

    Args:
        base: e.g. ``https://slack.com/api/``; a slash is put behind it where none is.
        token: gives a token by its name in the settings.
    """

    def __init__(self, base: str, token: Callable[[str], Awaitable[Secret]]) -> None:
        self.base = base if base.endswith("/") else f"{base}/"
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, made at the first use."""
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=10)
            self._session = aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[no_redirects()]
            )
        return self._session

    def client(self) -> AsyncWebClient:
        """slack-sdk's client, without a token of its own and without retries (its default posts twice on a cut)."""
        if self._client is None or self._client.session is not self.session:
            self._client = AsyncWebClient(
                base_url=self.base,
                timeout=CALL_SECONDS,
                session=self.session,
                retry_handlers=[],
                logger=silent(),
                trust_env_in_session=False,
            )
            self._client.retry_handlers = []
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, by: str = "bot_token", **arguments: Any) -> Mapping[str, Any]:
        """One call; what Slack answered.

        Args:
            by: the credential that it is made with, as the settings call it.

        Raises:
            Refusal: Slack says no.
            NoAnswer: it says nothing.
            CredentialError: the vault does not hand the token out.
        """
        secret = await self._token(by)
        headers = {"Authorization": f"Bearer {secret.reveal_text()}"}
        try:
            answer = await self.client().api_call(method, json=arguments, headers=headers)
        except SlackApiError as error:
            raise _refusal(error) from None
        except aiohttp.ClientConnectorError:
            raise NoAnswer("Slack cannot be reached", sent=False) from None
        except Redirected:
            raise NoAnswer(WALL, sent=True) from None
        except (aiohttp.ClientError, SlackClientError, TimeoutError, OSError, ValueError) as error:
            raise NoAnswer(f"Slack did not answer ({type(error).__name__})", sent=True) from None
        return answer.data if isinstance(answer.data, Mapping) else {}


class Redirected(aiohttp.ClientError):
    """A redirect, which was not followed."""


def no_redirects() -> aiohttp.TraceConfig:
    """slack-sdk would follow a redirect with what a message says, to wherever it points."""

    async def refuse(*_: object) -> None:
        raise Redirected("a redirect")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


def silent() -> logging.Logger:
    """A logger for slack-sdk: it writes what it sends and receives, and addresses that hold tickets."""
    logger = logging.getLogger("opencrust_channel_slack.sdk")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def _refusal(error: SlackApiError) -> Refusal:
    answer = error.response
    status = getattr(answer, "status_code", 0)
    data = getattr(answer, "data", answer)
    headers = getattr(answer, "headers", None) or {}
    word = data.get("error") if isinstance(data, Mapping) else None
    if not isinstance(word, str):
        word = "not_json" if isinstance(status, int) and status < 500 else ""
    try:
        after = float(headers.get("Retry-After") or headers.get("retry-after") or 0)
    except (TypeError, ValueError, AttributeError):
        after = 0.0
    return Refusal(status if isinstance(status, int) else 0, word[:100], after)

"""Errors that a client sees, the same for HTTP and WebSocket."""

from typing import Any

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A refusal that says what was wrong and what to do.

    Parameters:
        status: the HTTP status; over WebSocket only `code` is told.
        code: stable, for programs.
        message: for people; never repeats a credential.
        retry_after: seconds after which the same request may succeed.
        final: the same request can never succeed, or must not be repeated blindly by a client library.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: float | None = None, final: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.final = final

    def openai(self) -> dict[str, Any]:
        """The body of an OpenAI-style error answer."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}

    def frame(self) -> dict[str, Any]:
        """The `error` object of a WebSocket frame."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retry_after is not None:
            error["retry_after"] = self.retry_after
        return error


def bus_away() -> ApiError:
    """The bus cannot be reached, so nothing was accepted, or it is unknown whether it was."""
    return ApiError(
        503,
        "bus_unavailable",
        "OpenCrust's bus is not reachable now. Try again with the same message id (or Idempotency-Key): "
        "a message that was accepted after all is not taken twice.",
        retry_after=2,
    )


def unauthenticated(message: str = "this token is not valid (wrong, expired or revoked)") -> ApiError:
    """No usable credential. The same for every reason, so that an answer tells nothing about what exists."""
    return ApiError(401, "unauthenticated", message)


def nobody_serves(what: str, service: str) -> ApiError:
    """The service that would answer does not run, or does not do this yet."""
    return ApiError(
        503,
        "not_served",
        f"{what}: the {service} does not answer. See `opencrust status`, and `opencrust logs {service}`",
        retry_after=5,
    )

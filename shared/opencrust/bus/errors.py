"""What can go wrong on the bus, as types: callers decide by class, never by text."""


class BusError(Exception):
    """Base of all errors of the bus."""


class Denied(BusError):
    """The server refused a publish or a subscription: this identity has no right to that subject."""

    def __init__(self, action: str, subject: str) -> None:
        super().__init__(f"this service may not {action} {subject}; its rights stand in opencrust.bus.registry")
        self.action = action
        self.subject = subject


class Disconnected(BusError):
    """The connection is down, or went down while an answer was awaited: the outcome is unknown."""


class Timeout(BusError):
    """No answer within the time allowed: the outcome is unknown."""


class NoResponders(BusError):
    """Nobody listens on that subject now."""


class PayloadTooLarge(BusError):
    """Over the server's ``max_payload``."""


class StreamFull(BusError):
    """Back-pressure: the stream holds as much as it may (JetStream error 10077). Nothing was stored; try later."""


class KeyExists(BusError):
    """A key that was to be created exists."""


class WrongRevision(BusError):
    """Compare-and-set lost: somebody else wrote since (JetStream error 10071)."""


class NotFound(BusError):
    """No such message, key, stream or consumer."""


class ApiError(BusError):
    """JetStream refused, for a reason that has no class here. ``code`` is its ``err_code``."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"JetStream error {code}: {description}")
        self.code = code


_BY_CODE: dict[int, type[BusError]] = {
    10014: NotFound,  # consumer not found
    10037: NotFound,  # no message found
    10047: StreamFull,  # insufficient storage resources available
    10059: NotFound,  # stream not found
    10071: WrongRevision,  # wrong last sequence
    10164: WrongRevision,  # wrong last sequence, sent where the sequence itself is not told
    10077: StreamFull,  # maximum bytes exceeded
}


def from_api(code: int, description: str) -> BusError:
    """The error for a JetStream ``err_code``."""
    known = _BY_CODE.get(code)
    return ApiError(code, description) if known is None else known(description)

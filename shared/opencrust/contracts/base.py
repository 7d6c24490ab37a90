"""Encoding, decoding and the version rule that all contracts share."""

import json
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

MAX_MESSAGE_BYTES = 512 * 1024
"""Largest encoded message that we accept, in bytes. The bus itself refuses more than 1 MiB."""


class ContractError(ValueError):
    """A message does not follow its contract. The text names the field and the rule, never the value."""


class Malformed(ContractError):
    """Not UTF-8, not JSON, or a field that breaks a rule."""


class UnknownVersion(ContractError):
    """A version that this build does not know."""


class TooLarge(ContractError):
    """More bytes than :data:`MAX_MESSAGE_BYTES`."""


class Contract(BaseModel):
    """Base of everything that crosses a process boundary.

    Unknown fields are kept, values are immutable, and validation errors do not echo their input.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True, ser_json_bytes="base64")


class Versioned(Contract):
    """A contract that stands alone on the wire and so carries its version."""

    VERSION: ClassVar[int] = 1

    v: int = 1


_Model = TypeVar("_Model", bound=Versioned)


def encode(message: Versioned) -> bytes:
    """The bytes of ``message`` on the wire.

    Raises:
        TooLarge: the message would be over :data:`MAX_MESSAGE_BYTES`.
    """
    data = message.model_dump_json(exclude_none=True).encode()
    _check_size(data)
    return data


def decode(model: type[_Model], data: bytes) -> _Model:
    """Read one message of a known contract.

    Raises:
        TooLarge: over :data:`MAX_MESSAGE_BYTES`.
        Malformed: not UTF-8, not a JSON object, or a field breaks a rule.
        UnknownVersion: ``v`` is not :attr:`Versioned.VERSION` of the model.
    """
    _check_size(data)
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    if value.get("v") != model.VERSION or isinstance(value.get("v"), bool):
        raise UnknownVersion(f"{model.__name__} of an unknown version; this build reads version {model.VERSION}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Malformed(explain(error)) from None


def explain(error: ValidationError) -> str:
    """The first three faults of a validation error as ``field: rule``, without any input value."""
    faults: list[dict[str, Any]] = [
        dict(e) for e in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    named = [f"{'.'.join(str(part) for part in f['loc']) or 'message'}: {_rule(f)}" for f in faults[:3]]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(named) + more


def _rule(fault: dict[str, Any]) -> str:
    """The rule in words, without pydantic's own: the name of a class says nothing to who wrote the message."""
    if fault["type"] == "model_type":
        return "must be a JSON object"
    return str(fault["msg"]).removeprefix("Value error, ")


def _check_size(data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"{len(data)} bytes; a message may have {MAX_MESSAGE_BYTES}")

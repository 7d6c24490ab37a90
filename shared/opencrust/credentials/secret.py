"""A credential's value as an object that does not show it."""

from collections.abc import Callable
from typing import Any, NoReturn


class Secret:
    """One version of one credential.

    `repr`, `str`, `format`, JSON, pickling, copying, comparing and hashing never give the value away; only
    `reveal` and `reveal_text` do, so that a search for these two words finds every place that uses a value.
    `wipe` overwrites the value as far as Python allows.
    """

    __slots__ = ("_value", "name", "version")

    def __init__(self, value: bytes | bytearray, *, name: str, version: int) -> None:
        """Copies `value`; the caller may wipe its own buffer."""
        self._value = bytearray(value)
        self.name = name
        self.version = version

    def reveal(self) -> bytes:
        """The value. Use it at once and keep no copy.

        Raises:
            ValueError: it was wiped.
        """
        if not self._value:
            raise ValueError(f"the credential {self.name} was wiped; ask for it again")
        return bytes(self._value)

    def reveal_text(self) -> str:
        """The value as text.

        Raises:
            ValueError: it was wiped, or is not UTF-8.
        """
        try:
            return self.reveal().decode()
        except UnicodeDecodeError:
            # The original error carries the bytes.
            raise ValueError(f"the credential {self.name} is not text") from None

    def wipe(self) -> None:
        """Overwrite the value. Copies made by `reveal` are out of reach."""
        self._value[:] = bytes(len(self._value))
        del self._value[:]

    def __repr__(self) -> str:
        return f"Secret({self.name}, version {self.version})"

    def __str__(self) -> str:
        return "[secret]"

    def __format__(self, specification: str) -> str:
        return "[secret]"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[..., Any]) -> Any:
        """A model may hold a Secret; it validates by type and is always serialised as "[secret]"."""
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: "[secret]")
        )

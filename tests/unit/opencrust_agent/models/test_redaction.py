"""The key of one request: fetched late, checked, never shown."""

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import replace

import pytest

from opencrust_agent.models import Credential, ErrorKind, ModelError, Timeouts, endpoint
from opencrust_agent.models.redaction import KeyInUse

SECRET = "sk-live-0123456789abcdef"


class Key:
    def __init__(self, value: str) -> None:
        self.value = value

    def reveal_text(self) -> str:
        return self.value


def source(value: str) -> Callable[[], object]:
    async def credential() -> Credential:
        return Key(value)

    return credential


async def fetched(value: str) -> KeyInUse:
    key = KeyInUse()
    await key.fetch(endpoint("p", kind="openai", model="m", credential=source(value)))  # type: ignore[arg-type]
    return key


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"bad key {SECRET}.", "bad key [key]."),
        ("Incorrect API key: sk-live-0***********cdef", "Incorrect API key: *********"),
        ("key sk-live-01234567… is wrong", "key ****************… is wrong"),
        ("ends in abcdef", "ends in ******"),
        ("nothing of it: sk-l bcdef", "nothing of it: sk-l bcdef"),
        ("", ""),
    ],
)
async def test_redact(said: str, shown: str) -> None:
    found = (await fetched(SECRET)).redact(said)
    assert found.startswith(shown)
    assert not any(SECRET[i : i + 6] in found for i in range(len(SECRET) - 5))


async def test_a_short_key_is_redacted_too() -> None:
    assert (await fetched("k3y")).redact("was k3y") == "was [key]"


async def test_repr_and_headers() -> None:
    key = await fetched(f"  {SECRET}\n")
    assert SECRET not in repr(key)
    sent = key.headers(endpoint("p", kind="ollama", model="m"))
    assert sent["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("value", ["", "  ", f"{SECRET}\r\nX-Evil: 1", f"{SECRET} more", f"{SECRET}ä", f"{SECRET}\x00"])
async def test_what_cannot_be_a_key(value: str) -> None:
    with pytest.raises(ModelError) as caught:
        await fetched(value)
    assert caught.value.kind is ErrorKind.AUTH
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_failing_vault_is_named_without_its_words() -> None:
    async def credential() -> Credential:
        raise RuntimeError(f"lease of {SECRET} failed")

    with pytest.raises(ModelError, match="RuntimeError") as caught:
        await KeyInUse().fetch(endpoint("p", kind="openai", model="m", credential=credential))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_silent_vault_does_not_hang_the_turn() -> None:
    async def credential() -> Credential:
        await asyncio.sleep(60)
        raise AssertionError

    slow = replace(endpoint("p", kind="openai", model="m", credential=credential), timeouts=Timeouts(connect=0.05))
    with pytest.raises(ModelError, match="TimeoutError"):
        await KeyInUse().fetch(slow)

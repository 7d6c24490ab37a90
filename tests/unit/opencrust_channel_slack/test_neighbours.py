"""Replicas that listen know of each other."""

from opencrust_channel_slack.neighbours import KEY, Neighbours


async def test_two_know_of_each_other_until_one_is_gone() -> None:
    kept: dict[str, str] = {}
    now = [1_000.0]

    async def read(name: str) -> str | None:
        return kept.get(name)

    async def keep(name: str, value: str) -> None:
        kept[name] = value

    one, other = (Neighbours(read, keep, lambda: now[0]) for _ in range(2))
    await one.beat()
    await one.beat()
    assert not one.any
    await other.beat()
    await one.beat()
    assert one.any
    assert other.any
    now[0] += 30
    await one.beat()
    assert not one.any
    for odd in ("", "[]", "{", '{"a": "b"}'):
        kept[KEY] = odd
        await one.beat()
        assert not one.any

"""Machine code is taken with our seal, under its own name, and not otherwise."""

from pathlib import Path

import pytest

from opencrust_agent.plugins.cache import Cache

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "code")
    for name, data in ((ONE, b"one" * 1000), (TWO, b"two" * 1000)):
        with cache.create() as draft:
            draft.file.write(data)
            draft.keep(name, fuel=False)
    return cache


def content(cache: Cache, name: str, *, fuel: bool = False) -> bytes | None:
    file = cache.open(name, fuel=fuel)
    if file is None:
        return None
    with file:
        return file.read()


def files(cache: Cache, pattern: str = "*.cwasm") -> list[Path]:
    return sorted(cache.directory.glob(pattern))


def test_what_was_stored_is_found_by_another_start(cache: Cache) -> None:
    assert content(Cache(cache.directory), ONE) == b"one" * 1000
    assert content(cache, ONE, fuel=True) is None
    assert (cache.directory / "seal.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("at", [0, 1500, 2999])
def test_one_changed_byte_is_found_and_the_file_is_gone(cache: Cache, at: int) -> None:
    path = files(cache)[0]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    assert content(cache, ONE) is None
    assert not path.exists()


def test_another_ones_sealed_code_does_not_pass_under_this_name(cache: Cache) -> None:
    one, two = files(cache)
    for suffix in (".cwasm", ".mac"):
        source, target = two.with_suffix(suffix), one.with_suffix(suffix)
        target.chmod(0o600)
        target.write_bytes(source.read_bytes())
    assert content(cache, ONE) is None
    assert content(cache, TWO) == b"two" * 1000


def test_without_a_seal_or_with_another_key_nothing_is_taken(cache: Cache) -> None:
    files(cache, "*.mac")[0].unlink()
    assert content(cache, ONE) is None
    (cache.directory / "seal.key").write_bytes(b"k" * 32)
    assert content(cache, TWO) is None


def test_a_draft_that_is_not_kept_is_gone_and_so_is_what_no_plugin_needs(cache: Cache) -> None:
    with cache.create() as draft:
        draft.file.write(b"half")
    assert files(cache, "draft-*") == []
    cache.keep_only({TWO})
    assert content(cache, ONE) is None
    assert content(cache, TWO) == b"two" * 1000

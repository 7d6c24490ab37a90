"""Packages that are none: whatever somebody hands over, the answer is a sentence and the memory stays bounded."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from guests import binary, guest, manifest
from opencrust_cli import plugins_package
from opencrust_cli.errors import CommandError

CODE = binary(guest())


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return out.getvalue()


def tarred(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def good() -> dict[str, bytes]:
    return {"plugin_toml": manifest().encode(), "plugin_wasm": CODE}


def said(path: Path) -> str:
    with pytest.raises(CommandError) as caught:
        plugins_package.read(path)
    text = str(caught.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_in_any_of_the_usual_compressions(tmp_path: Path, pack: type[bytes]) -> None:
    file = tmp_path / "p.tar"
    file.write_bytes(pack(tarred(**good())))
    assert plugins_package.read(file).component == CODE


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text(manifest())
    (tmp_path / "secret").write_bytes(b"the owner's key")
    (tmp_path / "plugin.wasm").symlink_to(tmp_path / "secret")
    assert "plugin.wasm is a link" in said(tmp_path)
    (tmp_path / "plugin.toml").unlink()
    (tmp_path / "plugin.toml").symlink_to("/etc/passwd")
    assert "plugin.toml is a link" in said(tmp_path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text(manifest())
    os.mkfifo(tmp_path / "plugin.wasm")  # reading it would wait for ever
    assert "is no file" in said(tmp_path)
    assert "is no file" in said(Path("/dev/zero"))


def test_random_damage_is_always_a_sentence(tmp_path: Path) -> None:
    """Each bytes flipped, cut and doubled: never anything but a package or a sentence."""
    chance = random.Random(5)
    whole = [zipped(**good()), tarred(**good()), gzip.compress(tarred(**good())), bz2.compress(tarred(**good()))]
    whole.append(lzma.compress(tarred(**good())))
    file = tmp_path / "p"
    sentences = 0
    for data in whole:
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(chance.randint(1, 12)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            file.write_bytes(damaged[: chance.randint(1, len(damaged))] if chance.random() < 0.4 else damaged)
            with contextlib.suppress(CommandError):
                plugins_package.read(file)
                continue
            sentences += 1
    assert sentences > 150


def test_a_zip_with_a_password_says_so(tmp_path: Path) -> None:
    data = bytearray(zipped(**good()))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(signature, at + 4)
    (tmp_path / "p.zip").write_bytes(data)
    assert "password" in said(tmp_path / "p.zip")


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz", "sparse"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, kind: str) -> None:
    """A few kB that would be hundreds of MB: read to the limit, and no further."""
    file = tmp_path / f"p.{kind}"
    zeros = bytes(1 << 20) * 300
    if kind == "zip":
        file.write_bytes(zipped(plugin_toml=manifest().encode(), plugin_wasm=zeros))
    elif kind == "sparse":
        with file.open("wb") as opened:
            opened.truncate(10 << 30)
    else:
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind]
        file.write_bytes(pack(zeros))
    del zeros
    tracemalloc.start()
    text = said(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than" in text
    assert peak < 200 << 20


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"plugin_toml": b"a = " + b"[" * 9000, "plugin_wasm": CODE}, "nests too deep"),
        ({"plugin_toml": b"\xff\xfe", "plugin_wasm": CODE}, "is not TOML"),
        ({"plugin_toml": b'a = "\x1b[2J', "plugin_wasm": CODE}, "is not TOML"),
        ({"plugin_toml": b'wasm = "a\\u001b[2Jb"', "plugin_wasm": CODE}, "the name of a file beside it"),
        ({"plugin_toml": b"wasm = 5", "plugin_wasm": CODE}, "the name of a file beside it"),
        ({"plugin_toml": b'wasm = "../x"', "plugin_wasm": CODE}, "the name of a file beside it"),
        ({**good(), "plugin_toml_sig": b"[" * 30_000}, "is no signature"),
        ({**good(), "plugin_toml_sig": b"\xff"}, "is no signature"),
        ({**good(), "plugin_toml_sig": b"{}"}, "plugin.toml.sig"),
        ({"plugin_wasm": CODE}, "has no plugin.toml"),
    ],
)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_is_wrong_in_it_is_named(tmp_path: Path, pack: type[bytes], files: dict[str, bytes], wanted: str) -> None:
    (tmp_path / "p").write_bytes(pack(**files))
    assert wanted in said(tmp_path / "p")


def test_two_plugins_in_one_archive(tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_bytes(zipped(**{"a/plugin_toml": b"", "b/plugin_toml": b""}))
    assert "holds 2 plugins" in said(tmp_path / "p.zip")

"""Files in the workspace, and nothing outside of it."""

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrust.config.workspace import WorkspaceSettings
from opencrust_agent.tools.workspace import FilesError, Workspace


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("the secret")
    return tmp_path / "secret"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work", WorkspaceSettings(max_bytes=10_000, max_file_bytes=4_000, max_files=20))


def test_write_read_add_list_delete(workspace: Workspace) -> None:
    assert workspace.write("notes/todo.md", b"milk\n") == 5
    assert workspace.write("notes/todo.md", "brød\n".encode(), append=True) == 11
    data, size, _ = workspace.read("notes/todo.md", 5)
    assert (data, size) == (b"milk\n", 11)
    assert [(item.path, item.size) for item in workspace.entries()] == [("notes", -1)]
    assert [item.path for item in workspace.entries("notes/")] == ["notes/todo.md"]
    with pytest.raises(FilesError, match="not empty"):
        workspace.delete("notes")
    workspace.delete("notes/todo.md")
    workspace.delete("notes")
    assert workspace.entries() == []


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../secret/key", "a/../../secret/key", "./a", "a//b", "~/x", "a\\b", "C:x", "a\0b", "a\nb",
     " a",
     "a ", "a/\u202eb", "x" * 300, "a/" * 9 + "b", ".opencrust-1234", "..", "\u200b"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_or_reads_as_another_is_refused(workspace: Workspace, path: str) -> None:
    for act in (lambda: workspace.read(path, 10), lambda: workspace.write(path, b"x"), lambda: workspace.delete(path)):
        with pytest.raises(FilesError):
            act()


def test_no_link_leads_out(workspace: Workspace, tmp_path: Path, outside: Path) -> None:
    workspace.write("here", b"x")
    root = tmp_path / "work"
    (root / "file").symlink_to(outside / "key")
    (root / "folder").symlink_to(outside)
    (root / "hard").hardlink_to(outside / "key")
    for path in ("file", "folder/key", "hard"):
        with pytest.raises(FilesError, match="plain file"):
            workspace.read(path, 100)
    for path in ("file", "folder/new", "folder/key"):
        with pytest.raises(FilesError, match="plain file"):
            workspace.write(path, b"overwritten")
    with pytest.raises(FilesError):
        workspace.entries("folder")
    assert not any("key" in item.path for item in workspace.walk())
    workspace.delete("file")  # the link goes, what it points to stays
    assert (outside / "key").read_text() == "the secret"


def test_pipes_devices_and_sockets_are_no_files(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write("here", b"x")
    os.mkfifo(tmp_path / "work" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path / "work")
        listener.bind("sock")
    begun = time.monotonic()
    for name in ("pipe", "sock"):
        with pytest.raises(FilesError):
            workspace.read(name, 10)
        with pytest.raises(FilesError):
            workspace.write(name, b"x")
    assert time.monotonic() - begun < 1
    assert [item.path for item in workspace.entries()] == ["here"]


def test_a_folder_that_is_swapped_for_a_link_all_the_time_never_leads_out(
    workspace: Workspace, tmp_path: Path, outside: Path
) -> None:
    root, ends = tmp_path / "work", threading.Event()
    workspace.write("d/key", b"mine")
    (root / "link").symlink_to(outside)

    def swap() -> None:
        while not ends.is_set():
            for one, other in (("d", "kept"), ("link", "d"), ("d", "link"), ("kept", "d")):
                with contextlib.suppress(OSError):  # the workspace makes a folder anew in the moment when there is none
                    os.rename(root / one, root / other)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        seen = set()
        for _ in range(400):
            try:
                seen.add(workspace.read("d/key", 100)[0])
                workspace.write("d/key", b"mine")
            except FilesError:
                continue
    finally:
        ends.set()
        swapping.join()
    assert seen <= {b"mine"}
    assert (outside / "key").read_text() == "the secret"
    assert [path.name for path in outside.iterdir()] == ["key"]


def test_quotas(workspace: Workspace) -> None:
    with pytest.raises(FilesError, match="4000 bytes"):
        workspace.write("big", b"x" * 4001)
    workspace.write("a", b"x" * 4000)
    workspace.write("b", b"x" * 4000)
    with pytest.raises(FilesError, match="all files together"):
        workspace.write("c", b"x" * 4000)
    with pytest.raises(FilesError, match="4000 bytes"):
        workspace.write("b", b"y", append=True)
    for number in range(18):
        workspace.write(f"n{number}", b"")
    with pytest.raises(FilesError, match="20 files"):
        workspace.write("one more", b"")


def test_what_was_written_clean_stays_clean_until_strangers_text_is_added(workspace: Workspace) -> None:
    workspace.write("a", b"mine", clean=True)
    if not workspace.read("a", 10)[2]:
        pytest.skip("this file system keeps no extended attributes: every file counts as strangers' text")
    workspace.write("a", b"+", append=True, clean=True)
    assert workspace.read("a", 10)[2]
    workspace.write("a", b"theirs", append=True, clean=False)
    assert not workspace.read("a", 10)[2]
    workspace.write("a", b"mine", append=True, clean=True)
    assert not workspace.read("a", 10)[2]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab./\\~ \0\n:é..", max_size=20))
def test_any_path_is_refused_or_lies_inside(tmp_path: Path, path: str) -> None:
    root = tmp_path / "work"
    workspace = Workspace(root, WorkspaceSettings())
    try:
        workspace.write(path, b"x")
    except FilesError:
        return
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert all(p.is_relative_to(root) for p in written)
    workspace.delete(path)

"""No service of the embedded stack can read what belongs to another, by any path.

A probe is run as each service: with the very program entry that the supervisor starts, only that it looks around
instead of serving.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrust.confine import landlock_abi
from opencrust.identity.files import make_private_directory, write_private
from opencrust_cli.home import Home
from opencrust_cli.supervisor_child import become
from opencrust_cli.supervisor_program import Program, Tool
from opencrust_cli.supervisor_stack import SERVICES, Stack
from opencrust_provisioner.prepare import prepare, server_settings

pytestmark = pytest.mark.skipif(landlock_abi() == 0, reason="this kernel has no Landlock")

PROBE = """
import json, os
from pathlib import Path

def main(arguments):
    home, bystander = arguments
    def attempt(action):
        try:
            action()
        except OSError as error:
            return error.strerror
        return "ok"
    def look(path):
        return attempt((lambda: os.listdir(path)) if os.path.isdir(path) else (lambda: open(path, "rb").read()))
    paths = json.loads(os.environ["PATHS"])
    print(json.dumps({
        "read": {path: look(path) for path in paths},
        "write": {path: attempt(lambda: open(path, "r+b").close()) for path in paths if not os.path.isdir(path)},
        "environ": look(f"/proc/{bystander}/environ"),
        "memory": attempt(lambda: os.open(f"/proc/{bystander}/mem", os.O_RDONLY)),
        "signal": attempt(lambda: os.kill(int(bystander), 0)),
    }))
    return 0
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home as the provisioner makes it, with a vault and the state of every service."""
    home = Home(tmp_path / "home")
    prepare(home.path, server_settings(home.path, "127.0.0.1:4222"))
    for directory in stack(home).directories():
        make_private_directory(directory)
    for name in SERVICES:
        make_private_directory(home.state(name))
        write_private(home.state(name) / "scratch", b"x")
    write_private(home.path / "vault" / "vault.db", b"x")
    write_private(home.path / "vault" / "unlock.key", b"x")
    write_private(home.path / "config" / "config.json", b"{}")
    write_private(home.log("vault"), b"x")
    write_private(home.lock, b"")
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "confinement_probe.py").write_text(PROBE)
    return home


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process of the same user outside of every confinement, like the person's shell."""
    process = subprocess.Popen(["/bin/sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def stack(home: Home) -> Stack:
    return Stack(home, 3888, 4222, None, {"PATH": os.environ["PATH"]})


def files(home: Home) -> list[Path]:
    return sorted(path for path in home.path.rglob("*") if path.is_file())


def probe(program: Program, home: Home, bystander: int, paths: list[Path]) -> dict[str, dict[str, str] | str]:
    """What `program` could do if it wanted to."""
    imports = os.pathsep.join(
        [str(home.path.parent / "probe"), *(p for p in sys.path if not Path(p).is_relative_to(sys.base_prefix))]
    )
    spying = Program(
        name=program.name,
        what=Tool("confinement_probe", (str(home.path), str(bystander))),
        home=program.home,
        directory=program.directory,
        environment={
            **program.environment,
            "PYTHONPATH": imports,
            "PATHS": json.dumps([str(path) for path in paths]),
        },
        read=program.read,
        write=program.write,
    )
    reading, writing = os.pipe()
    notify = os.open(os.devnull, os.O_RDWR)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        become(spying, parent, writing, notify, fork=False)
    os.close(writing)
    os.close(notify)
    with os.fdopen(reading) as output:
        text = output.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    result: dict[str, dict[str, str] | str] = json.loads(text)
    return result


def own(service: str, path: Path, home: Home) -> bool:
    """Whether `path` is meant for `service`."""
    mine = [home.identity(service), home.state(service)]
    if service == "vault":
        mine.append(home.path / "vault")
    return any(path.is_relative_to(directory) for directory in mine)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_its_own_files_and_no_others(home: Home, bystander: int, service: str) -> None:
    paths = files(home)
    assert len(paths) > 40
    seen = probe(stack(home).service(service), home, bystander, paths)
    expected = {str(path): "ok" if own(service, path, home) else "Permission denied" for path in paths}
    assert seen["read"] == expected
    assert list(expected.values()).count("ok") >= 4


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_change_its_identity_nor_anything_of_others(home: Home, bystander: int, service: str) -> None:
    paths = files(home)
    seen = probe(stack(home).service(service), home, bystander, paths)
    assert isinstance(seen["write"], dict)
    writable = {Path(path) for path, outcome in seen["write"].items() if outcome == "ok"}
    assert writable == {
        path for path in paths if own(service, path, home) and not path.is_relative_to(home.identity(service))
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reaches_no_process_outside(home: Home, bystander: int, service: str) -> None:
    seen = probe(stack(home).service(service), home, bystander, [])
    assert (seen["environ"], seen["memory"]) == ("Permission denied", "Permission denied")
    if landlock_abi() >= 6:
        assert seen["signal"] == "Operation not permitted"


@pytest.mark.parametrize("name", ["bus", "prepare", "login_link"])
def test_the_authoritys_key_is_the_provisioners_and_the_vault_is_nobodys(home: Home, bystander: int, name: str) -> None:
    authority, vault = home.path / "ca" / "current.pem", home.path / "vault" / "unlock.key"
    seen = probe(getattr(stack(home), name)(), home, bystander, [authority, vault])
    assert seen["read"] == {
        str(authority): "ok" if name == "prepare" else "Permission denied",
        str(vault): "Permission denied",
    }


def test_the_persons_own_files_are_closed_to_services(home: Home, bystander: int) -> None:
    key = home.path.parent / "id_ed25519"
    key.write_bytes(b"x")
    seen = probe(stack(home).service("agent"), home, bystander, [key, Path("/root/.bashrc"), Path("/etc/hosts")])
    assert isinstance(seen["read"], dict)
    assert seen["read"][str(key)] == "Permission denied"
    assert seen["read"]["/etc/hosts"] == "ok"
    assert seen["read"]["/root/.bashrc"] != "ok"

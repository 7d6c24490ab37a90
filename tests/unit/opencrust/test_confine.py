import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrust.confine import landlock_abi, program_paths

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
needs_landlock = pytest.mark.skipif(landlock_abi() == 0, reason="this kernel has no Landlock")

NOBODY = 65534

PREAMBLE = """
import json, os, sys
from pathlib import Path
from opencrust import confine

home = Path(sys.argv[1])
report = confine.confine(home=home, read=[home / "identity/agent"], write=[home / "state/agent"])
def attempt(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "ok"
def read(path):
    return attempt(lambda: Path(path).read_bytes())
"""


@pytest.fixture(params=["root", "nobody"] if os.geteuid() == 0 else ["self"])
def user(request: pytest.FixtureRequest) -> int:
    return {"root": 0, "nobody": NOBODY, "self": os.geteuid()}[request.param]


@pytest.fixture
def home(tmp_path: Path, user: int) -> Path:
    home = tmp_path / "home"
    for directory in ("identity/agent", "identity/vault", "state/agent", "vault", "ca"):
        (home / directory).mkdir(parents=True)
    for file in ("identity/agent/key.pem", "identity/vault/key.pem", "vault/store", "ca/current.pem"):
        (home / file).write_bytes(b"secret")
    for path in [home, *home.rglob("*")]:
        os.chown(path, user, -1)
    # pytest makes its directories private; the other user must get through.
    for parent in list(tmp_path.parents)[: len(tmp_path.parents) - 2]:
        parent.chmod(0o755)
    tmp_path.chmod(0o755)
    return home


def interpreter(user: int) -> str:
    """A Python of this version that `user` can start: the tests' own may lie in somebody's private directory."""
    check = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    for candidate in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if subprocess.run([candidate, "-c", check], user=user, cwd="/", capture_output=True).returncode == 0:
                return candidate
    pytest.skip(f"no Python that user {user} can start")


IMPORTS = os.pathsep.join(path for path in sys.path if not Path(path).is_relative_to(sys.base_prefix))


def start(script: str, home: Path, user: int) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": IMPORTS, "CANARY": "of-the-environment"}
    return subprocess.Popen(
        [interpreter(user), "-P", "-c", PREAMBLE + script, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd="/",
        user=user,
    )


def run(script: str, home: Path, user: int) -> dict[str, object]:
    process = start(script, home, user)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    result: dict[str, object] = json.loads(output)
    return result


@pytest.fixture
def neighbour(home: Path, user: int) -> Iterator[int]:
    """Another confined process of the same user, waiting."""
    process = start('print("up", flush=True); sys.stdin.read()', home, user)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process.pid
    process.communicate("")


@pytest.fixture
def bystander(home: Path, user: int) -> Iterator[int]:
    """A process of the same user that is not confined at all."""
    process = subprocess.Popen(["/bin/sleep", "60"], env={"CANARY": "1"}, user=user)
    yield process.pid
    process.kill()
    process.wait()


@needs_landlock
def test_own_files_are_there_and_the_others_are_not(home: Path, user: int) -> None:
    paths = [
        "identity/agent/key.pem",
        "identity/vault/key.pem",
        "vault/store",
        "ca/current.pem",
    ]
    script = f"print(json.dumps({{p: read(home / p) for p in {paths!r}}}))"
    denied = "Permission denied"
    assert run(script, home, user) == dict(zip(paths, ["ok", denied, denied, denied], strict=True))


@needs_landlock
def test_the_state_directory_is_writable_and_the_identity_is_not(home: Path, user: int) -> None:
    script = """
state = home / "state/agent"
def all_of_it():
    (state / "d").mkdir()
    (state / "d/f").write_bytes(b"x")
    (state / "d/f").rename(state / "g")
    os.truncate(state / "g", 0)
    (state / "g").unlink()
    (state / "d").rmdir()
print(json.dumps({
    "state": attempt(all_of_it),
    "identity": attempt(lambda: (home / "identity/agent/key.pem").write_bytes(b"x")),
    "truncate": attempt(lambda: os.truncate(home / "identity/agent/key.pem", 0)),
    "elsewhere": attempt(lambda: (home / "new").write_bytes(b"x")),
    "link": attempt(lambda: os.link(home / "vault/store", state / "stolen")),
    "execute": attempt(lambda: ((state / "x").write_text("#!/bin/sh"), (state / "x").chmod(0o700),
                                os.posix_spawn(state / "x", ["x"], {}))),
}))
"""
    assert run(script, home, user) == {
        "state": "ok",
        "identity": "Permission denied",
        "truncate": "Permission denied",
        "elsewhere": "Permission denied",
        "link": "Invalid cross-device link",  # Landlock's answer to linking out of an unreadable directory
        "execute": "Permission denied",
    }


@needs_landlock
def test_no_way_around_leads_to_the_others_files(home: Path, user: int) -> None:
    script = """
secret = home / "vault/store"
link = home / "state/agent/link"
link.symlink_to(secret)
child = os.popen(f"cat {secret} 2>&1").read()
print(json.dumps({
    "symlink": read(link),
    "through /proc": read(f"/proc/self/root{secret}"),
    "cwd": attempt(lambda: os.chdir(home / "vault") or Path("store").read_bytes()),
    "child": "secret" in child,
}))
"""
    denied = "Permission denied"
    assert run(script, home, user) == {"symlink": denied, "through /proc": denied, "cwd": denied, "child": False}


@needs_landlock
@pytest.mark.parametrize("other", ["neighbour", "bystander"])
def test_environment_and_memory_of_other_processes_are_refused(
    home: Path, user: int, other: str, request: pytest.FixtureRequest
) -> None:
    pid = request.getfixturevalue(other)
    script = f"""
print(json.dumps([read("/proc/{pid}/environ"), read("/proc/{pid}/mem"), attempt(lambda: os.kill({pid}, 0))]))
"""
    assert run(script, home, user) == ["Permission denied", "Permission denied", "Operation not permitted"]


def test_a_confined_process_is_closed_to_unconfined_ones_of_the_same_user(
    home: Path, user: int, neighbour: int
) -> None:
    if user == 0:
        pytest.skip("root may read everybody's memory")
    script = f"import json; print(open('/proc/{neighbour}/environ').read())"
    reader = subprocess.run([interpreter(user), "-c", script], capture_output=True, text=True, user=user, check=False)
    assert "Permission denied" in reader.stderr


def test_no_capability_and_no_new_privilege_remain(home: Path, user: int) -> None:
    script = """
lines = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([lines["CapEff"], lines["CapPrm"], lines["NoNewPrivs"]]))
"""
    assert run(script, home, user) == ["0" * 16, "0" * 16, "1"]


def test_no_core_is_dumped_and_the_own_memory_use_is_readable(home: Path, user: int) -> None:
    script = """
import resource
rollup = Path("/proc/self/smaps_rollup").read_text()
print(json.dumps([resource.getrlimit(resource.RLIMIT_CORE), "Pss:" in rollup]))
"""
    assert run(script, home, user) == [[0, 0], True]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_both_event_loops_names_and_tls_work_inside(home: Path, user: int, loop: str) -> None:
    script = f"""
import asyncio, {loop}, socket, ssl
async def main():
    process = await asyncio.create_subprocess_exec("/bin/echo", "hello", stdout=-1)
    output, _ = await process.communicate()
    return output.decode().strip()
ssl.create_default_context()
socket.getaddrinfo("localhost", 80)
print(json.dumps({{"said": {loop}.run(main()), "missing": report.missing}}))
"""
    assert run(script, home, user) == {"said": "hello", "missing": []}


@needs_landlock
def test_an_import_path_that_contains_the_home_is_closed_and_reported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "vault").mkdir(parents=True)
    (home / "vault" / "store").write_bytes(b"secret")
    script = PREAMBLE + 'print(json.dumps([read(home / "vault/store"), report.missing]))'
    environment = {"PYTHONPATH": os.pathsep.join([IMPORTS, str(tmp_path)])}
    output = subprocess.run(
        [sys.executable, "-P", "-c", script, str(home)], capture_output=True, text=True, env=environment, check=True
    ).stdout
    outcome, missing = json.loads(output)
    assert outcome == "Permission denied"
    assert len(missing) == 1
    assert str(tmp_path) in missing[0]


def test_without_landlock_it_says_what_is_missing_and_does_not_fail(home: Path, user: int) -> None:
    script = """
print(json.dumps([report.landlock, report.missing, read(home / "vault/store")]))
"""
    patched = PREAMBLE.replace("report =", "confine.landlock_abi = lambda: 0\nreport =")
    output = subprocess.run(
        [interpreter(user), "-P", "-c", patched + script, str(home)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": IMPORTS},
        user=user,
        check=True,
    ).stdout
    landlock, missing, outcome = json.loads(output)
    assert (landlock, outcome) == (0, "ok")
    assert "no Landlock" in missing[0]


def test_a_process_dies_with_its_parent(tmp_path: Path) -> None:
    script = """
import os, sys, time
from opencrust.confine import die_with_parent
parent = os.getpid()
child = os.fork()
if child == 0:
    die_with_parent(parent)
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""
    environment = {"PYTHONPATH": IMPORTS}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 5
    while _alive(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    script = "from opencrust.confine import die_with_parent; die_with_parent(999999999)"
    environment = {"PYTHONPATH": IMPORTS}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 1


def test_a_process_can_be_told_apart_by_its_name() -> None:
    script = "from opencrust.confine import name_process; name_process('oc-a-rather-long-name');"
    script += "print(open('/proc/self/comm').read())"
    output = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": IMPORTS}, capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "oc-a-rather-lon"


def test_programs_paths_hold_the_interpreter_and_every_import_directory() -> None:
    paths = program_paths()
    assert Path(sys.prefix) in paths
    assert Path(sys.base_prefix) in paths
    assert {Path(path) for path in sys.path if path} <= set(paths)


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

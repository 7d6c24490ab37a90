"""``opencrust up`` and the supervisor behind it: real processes, the real bus, the real services."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CANARY = "sk-canary-of-the-persons-shell"
IMPORTS = os.pathsep.join(path for path in sys.path if not Path(path).is_relative_to(sys.base_prefix))
LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/login#ticket=oc_[a-z2-7]{16}_[a-z2-7]{32}")
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    with contextlib.suppress(OSError):
        return "State:\tZ" not in status.read_text()
    return True


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for a true value, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


class House:
    """One home and the commands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self._pids: set[int] = set()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(path.parent),
            "PYTHONPATH": IMPORTS,
            "OPENCRUST_HOME": str(path),
            "OPENAI_API_KEY": CANARY,
        }

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "opencrust_cli", *arguments]

    def run(self, *arguments: str, text: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments),
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.path.parent,
        )

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.run("up", "--detach", "--port", str(self.port), *arguments)
        assert done.returncode == 0, done.stderr
        return done

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        self._pids |= {service["pid"] for service in status["services"].values() if service["pid"]}
        if "supervisor" in status:
            self._pids.add(status["supervisor"]["pid"])
        return status

    def pids(self) -> dict[str, int]:
        return {name: service["pid"] for name, service in self.status()["services"].items()}

    def settled(self) -> dict[str, Any] | None:
        status = self.status()
        return status if status["state"] == "ready" else None

    def clear(self) -> None:
        self.run("down")
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "home")
    yield house
    house.clear()


@pytest.mark.parametrize("mode", [(), ("--no-fork",)], ids=["fork", "no-fork"])
def test_up_status_down(house: House, mode: tuple[str, ...]) -> None:
    done = house.up(*mode)
    assert [match.group(1) for match in LINK.finditer(done.stdout)] == [str(house.port)]

    status = house.status()
    assert {"bus", "vault", "agent", "gateway", "dlq"} <= set(status["services"])
    for name, service in status["services"].items():
        assert service["ready"] is True, name
        assert service["state"] == "ready", name
        assert alive(service["pid"]), name
        assert isinstance(service["pss_kib"], int), name
    assert status["not_enforced"] == []
    assert status["supervisor"]["forks"] is not bool(mode)

    pids = [*house.pids().values(), status["supervisor"]["pid"]]
    assert house.run("down").returncode == 0
    assert not any(alive(pid) for pid in pids)
    assert house.run("status").returncode == 3
    assert house.run("down").returncode == 3


def test_there_is_one_supervisor_of_a_home(house: House) -> None:
    house.up()
    for port in (free_port(), house.port):
        again = house.run("up", "--detach", "--port", str(port))
        assert again.returncode == 1
        assert "already runs" in again.stderr
    assert house.settled()


def test_a_status_that_cannot_be_written_stops_nothing(house: House) -> None:
    house.up()
    before = house.pids()
    status = house.path / "run" / "status.json"
    status.unlink()
    status.mkdir()  # as a full disk does, it makes every write fail
    supervisor = int((house.path / "run" / "lock").read_text())
    os.kill(supervisor, signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while "status cannot be written" not in (house.path / "log" / "supervisor.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert alive(supervisor)
    status.rmdir()
    assert house.pids() == before


def test_a_taken_port_is_named_before_anything_starts(house: House) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = house.run("up", "--detach", "--port", str(port))
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert house.run("status").returncode == 3


def test_a_broken_configuration_is_told_and_nothing_is_left_running(house: House) -> None:
    (house.path / "config").mkdir(parents=True)
    (house.path / "config" / "config.json").write_text('{"providers": [{"nmae": "x"}]}')
    done = house.run("up", "--detach", "--port", str(house.port))
    assert done.returncode == 1
    assert "config.json" in done.stderr
    assert house.run("status").returncode == 3


@on_linux
def test_no_process_knows_the_persons_environment(house: House) -> None:
    house.up()
    status = house.status()
    pids = [*house.pids().values(), status["supervisor"]["pid"]]
    for pid in pids:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert CANARY.encode() not in environment
        assert str(house.path.parent).encode() + b"\0" not in environment, "the person's own home"


@on_linux
def test_every_service_is_a_process_without_privileges_in_a_group_of_its_own(house: House) -> None:
    house.up()
    for name, service in house.status()["services"].items():
        lines = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{service['pid']}/status").read_text().splitlines() if line
        )
        assert lines["NoNewPrivs"] == "1", name
        assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0, name
        assert os.getpgid(service["pid"]) == service["pid"], name
        assert service["landlock"] > 0, name


def test_whoever_is_killed_comes_back(house: House) -> None:
    house.up()
    for name, pid in house.pids().items():
        os.kill(pid, signal.SIGKILL)

        def back(name: str = name, pid: int = pid) -> bool:
            service = house.status()["services"][name]
            return bool(service["ready"]) and service["pid"] != pid

        until(back)
    status = until(house.settled)
    assert all(service["starts"] == 2 for service in status["services"].values())
    assert all(service["last_exit"] == "signal SIGKILL" for service in status["services"].values())


def test_the_bus_is_provisioned_again_after_it_was_killed(house: House) -> None:
    house.up()
    os.kill(house.pids()["bus"], signal.SIGKILL)
    log = house.path / "log" / "provisioner.log"
    until(lambda: log.read_text().count('"published"') == 2)
    until(house.settled)
    done = house.run("chat", "--message", "hello")
    assert done.returncode == 0, done.stderr


def test_any_start_order_works(house: House) -> None:
    house.up()
    pids = house.pids()
    # The bus last: everybody else starts again while there is none.
    for pid in (*pids.values(), pids["bus"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids.values()))
    status = until(house.settled)
    assert set(pids.values()).isdisjoint(service["pid"] for service in status["services"].values())


@on_linux
def test_nothing_outlives_a_killed_supervisor(house: House) -> None:
    house.up()
    pids = house.pids()
    os.kill(house.status()["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids.values()), seconds=5)
    assert house.run("status").returncode == 3
    house.up()
    assert house.settled()


def test_the_foreground_prints_one_link_and_ends_in_order_with_ctrl_c(house: House) -> None:
    process = subprocess.Popen(
        house.argv("up", "--port", str(house.port)),
        env=house.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if LINK.search(line):
            break
    pids = house.pids()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=40)
    assert process.returncode == 0
    assert not LINK.search(rest)
    assert "gateway     | " in errors, "the log of every service is shown"
    assert not LINK.search(errors)
    assert not any("login#ticket" in path.read_text() for path in (house.path / "log").glob("*.log"))
    assert not any(alive(pid) for pid in pids.values())

    stopped = [_stop_time(house.path / "log" / f"{name}.log") for name in ("gateway", "agent", "dlq", "vault")]
    assert stopped == sorted(stopped)
    assert "Server Exiting" in (house.path / "log" / "bus.log").read_text()


def _stop_time(log: Path) -> str:
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return str(next(entry["time"] for entry in entries if entry["message"] == "stopping"))


def test_a_provider_reaches_the_running_agent(house: House) -> None:
    house.up()
    assert house.run("providers", "add", "tiny", "--kind", "demo").returncode == 0
    log = house.path / "log" / "provisioner.log"
    until(lambda: any('"published": ["agent.providers"]' in line for line in log.read_text().splitlines()))
    listed = json.loads(house.run("providers", "list", "--json").stdout)["providers"]
    assert [provider["name"] for provider in listed] == ["tiny"]


def test_tokens_are_made_listed_and_revoked(house: House) -> None:
    house.up()
    made = json.loads(house.run("token", "create", "laptop", "--scope", "chat", "--expires", "1d", "--json").stdout)
    listed = json.loads(house.run("token", "list", "--json").stdout)["tokens"]
    assert [token["id"] for token in listed if token["name"] == "laptop"] == [made["id"]]
    assert made["token"] not in json.dumps(listed)

    def chat() -> subprocess.CompletedProcess[str]:
        url = f"http://127.0.0.1:{house.port}"
        return house.run("chat", "--message", "hello", "--url", url, "--token-stdin", text=made["token"])

    assert chat().returncode == 0
    assert house.run("token", "revoke", "laptop").returncode == 0
    refused = chat()
    assert refused.returncode == 1
    assert "does not accept this token" in refused.stderr
    assert house.run("token", "revoke", "laptop").returncode == 1


def test_chat_answers_and_leaves_no_token_behind(house: House) -> None:
    house.up()
    done = house.run("chat", "--message", "hello", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["finish"] == "complete"
    assert answer["text"]
    names = [token["name"] for token in json.loads(house.run("token", "list", "--json").stdout)["tokens"]]
    assert "opencrust chat" not in names


@pytest.mark.long
@on_linux
def test_who_does_not_stop_is_killed_after_its_grace(house: House) -> None:
    house.up()
    pid = house.pids()["dlq"]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert house.run("down").returncode == 0
    assert 9 < time.monotonic() - began < 20
    assert not alive(pid)

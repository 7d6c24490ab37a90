"""The compose project in tests: deploy/compose.yaml with the simulators laid over it, run by a real Docker engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness import free_port

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "opencrust-e2e"
CONFIGURATION = {
    "providers": [{"name": "simulator", "kind": "openai", "model": "echo", "base_url": "http://simulators:8900/v1"}]
}


class Compose:
    """The project under test. Images are built with whatever index this machine's Docker build reaches."""

    def __init__(self) -> None:
        self.port = free_port()
        self.query_port = free_port()
        self.telegram_port = free_port()
        self.discord_port = free_port()
        self.slack_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "OPENCRUST_PORT": str(self.port),
            "OTLP_QUERY_PORT": str(self.query_port),
            "TELEGRAM_PORT": str(self.telegram_port),
            "DISCORD_PORT": str(self.discord_port),
            "SLACK_PORT": str(self.slack_port),
            "OPENCRUST_OTLP_ENDPOINT": "http://simulators:4318",
        }

    def __call__(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        files = ("-f", str(ROOT / "deploy/compose.yaml"), "-f", str(ROOT / "tests/e2e/compose-simulators.yaml"))
        done = subprocess.run(
            ["docker", "compose", "--project-name", PROJECT, *files, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=840,
            input=stdin,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        ids = self("ps", "--quiet", *([service] if service else [])).split()
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
        inspected: list[dict[str, Any]] = json.loads(shown)
        return inspected

    def login_link(self) -> str:
        link: dict[str, Any] = json.loads(self("run", "--rm", "-T", "cli", "login-link", "--json"))
        return str(link["url"])


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def kill(container: dict[str, Any]) -> None:
    """kill -9 as a crash: `docker kill` would count as a wish, and Docker would not start it again."""
    os.kill(int(container["State"]["Pid"]), signal.SIGKILL)


@contextmanager
def composed(*profiles: str) -> Iterator[Compose]:
    """The project, built with these profiles and up with a model that echoes; taken down at the end, unless
    KEEP_COMPOSE is 1. Skips the test where no Docker engine runs."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no running Docker engine here: compose is not tested")
    project = Compose()
    everything = ("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
    project(*everything)
    try:
        project(*(word for profile in ("cli", *profiles) for word in ("--profile", profile)), "build")
        write = (
            "import sys, pathlib; pathlib.Path('/var/lib/opencrust/config/config.json').write_text(sys.stdin.read())"
        )
        arguments = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "cli", "-c", write)
        project(*arguments, stdin=json.dumps(CONFIGURATION))
        project("up", "--detach", "--wait", "--wait-timeout", "180")
        yield project
    finally:
        if os.environ.get("KEEP_COMPOSE") != "1":
            project(*everything, check=False)

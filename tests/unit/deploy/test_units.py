"""The units that start OpenCrust after a reboot: well-formed, and what they run is a command that there is."""

import configparser
import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from opencrust_cli.main import parser

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
UNIT = DEPLOY / "systemd" / "opencrust.service"
PLIST = DEPLOY / "launchd" / "org.opencrust.plist"


def takes(words: list[str]) -> bool:
    options = parser(words).parse_args(words)
    return options.unattended is True and options.detach is False


def test_the_systemd_unit_runs_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(UNIT)
    program, *words = unit["Service"]["ExecStart"].split()
    assert program == "%h/.local/bin/opencrust"
    assert takes(words)
    assert int(unit["Service"]["TimeoutStopSec"]) > 60, "longer than `opencrust down` waits"
    assert "Environment" not in unit["Service"], "no key in an environment"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = tmp_path / ".local" / "bin" / "opencrust"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["systemd-analyze", "verify", "--user", "--man=no", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    about_us = [line for line in (done.stdout + done.stderr).splitlines() if "opencrust" in line]
    assert about_us == []


def test_the_launchd_agent_runs_a_command_that_there_is() -> None:
    agent = plistlib.loads(PLIST.read_bytes())
    program, *words = agent["ProgramArguments"]
    assert program == "HOME/.local/bin/opencrust"
    assert takes(words)
    assert agent["Umask"] == 0o077

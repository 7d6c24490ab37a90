"""install.sh as a newcomer runs it: a real install from the locks, in a home of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from harness import free_port

ROOT = Path(__file__).resolve().parents[2]
TREE = ("install.sh", "requirements", "shared", "services", "cli", "sims")


def run(
    *arguments: str, person: Path, path: str | None = None, script: Path = ROOT / "install.sh", **extra: str
) -> subprocess.CompletedProcess[str]:
    """install.sh with a minimal environment, like a fresh login of somebody whose home is ``person``."""
    person.mkdir(exist_ok=True)
    environment = {
        "HOME": str(person),
        "PATH": path or f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",  # set on some machines; an install must compile all the same
        **{k: v for k, v in os.environ.items() if k in ("PIP_CERT", "SSL_CERT_FILE", "PIP_INDEX_URL", "UV_INDEX_URL")},
        **extra,
    }
    return subprocess.run(
        ["/bin/sh", str(script), *arguments],
        env=environment,
        cwd=person,
        capture_output=True,
        text=True,
        timeout=500,
        stdin=subprocess.DEVNULL,
    )


def base_python() -> str:
    """The Python beneath the environment that the tests run in: an install's environment must not hang on ours."""
    return os.path.realpath(sys.executable)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of somebody who ran install.sh once, into a folder with an awkward name."""
    person = tmp_path_factory.mktemp("person")
    done = run("--home", str(person / "it's crusty"), "--python", base_python(), person=person)
    assert done.returncode == 0, done.stdout + done.stderr
    return person


@pytest.fixture(scope="module")
def home(person: Path) -> Path:
    return person / "it's crusty"


@pytest.mark.timeout(600)
def test_the_command_works(person: Path, home: Path) -> None:
    for command in (home / "bin" / "opencrust", person / ".local" / "bin" / "opencrust"):
        done = subprocess.run([command, "--help"], env={}, capture_output=True, text=True, timeout=60, cwd=person)
        assert done.returncode == 0, done.stderr
        assert "up" in done.stdout


def test_everything_is_in_one_private_folder_but_for_one_link(person: Path, home: Path) -> None:
    outside = [p for p in person.rglob("*") if home not in p.parents and p != home and not p.is_dir()]
    assert outside == [person / ".local" / "bin" / "opencrust"]
    assert outside[0].readlink() == home / "bin" / "opencrust"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert sorted(p.name for p in home.iterdir()) == ["bin", "env"], "nothing of the installation is left over"


def test_the_source_tree_is_left_as_it_was() -> None:
    listed = subprocess.run(["git", "status", "--porcelain", "--ignored"], cwd=ROOT, capture_output=True, text=True)
    assert not [line for line in listed.stdout.splitlines() if "egg-info" in line or line.endswith("/build/")]


def test_every_service_is_installed_as_a_package_with_its_data(home: Path) -> None:
    site = next((home / "env" / "lib").glob("python3*/site-packages"))
    for package in [*sorted((ROOT / "services").glob("*/opencrust_*")), ROOT / "sims" / "opencrust_sim"]:
        if not any(package.glob("*.py")):
            continue
        installed = site / package.name
        for file in package.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert (installed / file.relative_to(package)).exists(), f"{file.relative_to(ROOT)} was not installed"
        assert list(installed.glob("__pycache__/*.pyc")), f"{package.name} is not compiled"
    assert (home / "env" / "bin" / "nats-server").exists()
    assert not (site / "pip").exists(), "nothing in there can install more"


def test_a_simulated_platform_comes_with_it(person: Path, home: Path) -> None:
    port = free_port()
    with subprocess.Popen(
        [home / "bin" / "opencrust", "channels", "simulate", "discord", "--port", str(port)],
        env={"HOME": str(person)}, stdout=subprocess.PIPE, text=True,
    ) as simulated:  # fmt: skip
        assert simulated.stdout is not None
        assert f"http://127.0.0.1:{port}" in simulated.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert b"You play the people" in page.read()
        simulated.send_signal(signal.SIGINT)
        assert simulated.wait(10) == 0
    assert subprocess.run([home / "env" / "bin" / "opencrust-sim", "--help"], env={}, check=False).returncode == 0


def test_running_it_again_upgrades_in_place(person: Path, home: Path) -> None:
    site = next((home / "env" / "lib").glob("python3*/site-packages"))
    damaged = site / "opencrust" / "__init__.py"
    damaged.write_text("raise SystemExit('old version')")
    (home / "config").mkdir(mode=0o700)
    (home / "config" / "config.json").write_text("{}")
    (home / "config" / "config.json").chmod(0o600)
    done = run("--home", str(home), "--python", base_python(), person=person)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "__version__" in damaged.read_text()
    assert (home / "config" / "config.json").read_text() == "{}"


@pytest.mark.timeout(600)
def test_one_command_from_nothing_to_an_answer(person: Path, home: Path) -> None:
    """`install.sh --run`: the offline demo model answers, without a key, an account or Docker."""
    port = str(free_port())
    options = ("--home", str(home), "--python", base_python(), "--run", "--port", port, "--detach")
    command = home / "bin" / "opencrust"

    def opencrust(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], env={"HOME": str(person)}, capture_output=True, text=True, timeout=200
        )

    done = run(*options, person=person)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(f"http://127.0.0.1:{port}/login#ticket=") == 1
        status = json.loads(opencrust("status", "--json").stdout)
        assert {name: service["ready"] for name, service in status["services"].items()} == dict.fromkeys(
            ("bus", "vault", "agent", "gateway", "dlq"), True
        )
        answer = opencrust("chat", "--message", "Say hello.")
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.strip()
    finally:
        assert opencrust("down").returncode == 0
    outside = [p for p in person.rglob("*") if home not in p.parents and p != home and not p.is_dir()]
    assert outside == [person / ".local" / "bin" / "opencrust"]
    others = [p for p in home.rglob("*") if p.lstat().st_mode & 0o077 and not p.is_symlink() and "env" not in p.parts]
    assert [p for p in others if "bin" not in p.parts] == [], "readable by others"


def test_uninstall_takes_the_program_and_leaves_what_is_yours(person: Path, home: Path) -> None:
    # Last in this file's order among those that need the installation.
    (home / "config" / "config.json").write_text("{}")
    yours = sorted(p.name for p in home.iterdir() if p.name not in ("env", "bin"))
    done = run("--home", str(home), "--uninstall", person=person)
    assert done.returncode == 0, done.stderr
    assert str(home) in done.stdout
    assert sorted(p.name for p in home.iterdir()) == yours
    assert {"config", "vault", "bus"} <= set(yours)
    assert not (person / ".local" / "bin" / "opencrust").is_symlink()
    shutil.rmtree(home)
    done = run("--home", str(home), "--uninstall", person=person)
    assert done.returncode == 1
    assert "nothing at" in done.stderr


def test_help_teaches(tmp_path: Path) -> None:
    done = run("--help", person=tmp_path / "p")
    assert done.returncode == 0
    for word in ("--run", "--demo", "--no-demo", "--home", "--python", "--uninstall", "exit codes", "examples"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--frobnicate"], 2, "unknown option --frobnicate"),
        (["--home"], 2, "--home needs a folder"),
        (["--home", "/"], 2, "a folder of its own"),
        (["--python", "/nonexistent/python"], 3, "is not a Python 3.11 or newer"),
    ],
)
def test_wrong_use_says_what_is_wrong(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = run(*arguments, person=tmp_path / "p")
    assert done.returncode == code
    assert says in done.stderr
    assert not (tmp_path / "p" / ".opencrust").exists()


def tools(folder: Path) -> Path:
    """A PATH with the usual commands and no Python."""
    folder.mkdir()
    for name in (
        "sh",
        "sed",
        "dirname",
        "mktemp",
        "rm",
        "mkdir",
        "chmod",
        "tar",
        "cat",
        "mv",
        "ln",
        "readlink",
        "rmdir",
    ):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def script(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def test_an_old_python_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin")
    script(path / "python3", '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    done = run(person=tmp_path / "p", path=str(path))
    assert done.returncode == 3
    assert "needs Python 3.11 or newer; this machine has Python 3.9.2" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_no_python_at_all(tmp_path: Path) -> None:
    done = run(person=tmp_path / "p", path=str(tools(tmp_path / "bin")))
    assert done.returncode == 3
    assert "no python3 at all" in done.stderr


def test_a_python_without_pip_and_ensurepip_gets_the_exact_remedy(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin")
    script(
        path / "python3",
        f'case "$*" in *ensurepip*|"-m pip"*) exit 1 ;; esac\nexec "{base_python()}" "$@"\n',
    )
    done = run(person=tmp_path / "p", path=str(path))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1
    assert "nothing here can install packages" in done.stderr
    assert f"apt-get install python{version}-venv" in done.stderr
    assert not list((tmp_path / "p" / ".opencrust").glob(".install*"))


def release(folder: Path) -> Path:
    """An unpacked release with SHA256SUMS beside it."""
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def test_a_release_that_was_altered_is_refused_before_anything_runs(tmp_path: Path) -> None:
    folder = release(tmp_path / "release")
    altered = folder / "shared" / "opencrust" / "__init__.py"
    altered.write_text(altered.read_text() + "\nimport os\n")
    done = run("--python", base_python(), person=tmp_path / "p", script=folder / "install.sh")
    assert done.returncode == 1
    assert "shared/opencrust/__init__.py" in done.stderr
    assert "differ from SHA256SUMS" in done.stderr
    assert not (tmp_path / "p" / ".opencrust" / "env").exists()


def test_a_package_that_was_altered_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path / "release")
    (folder / "SHA256SUMS").unlink()
    lock = folder / "requirements" / "all.txt"
    head, _, tail = lock.read_text().partition("sha256:")
    wrong = "0" * 64
    lock.write_text("annotated-types==0.8.0 \\\n    --hash=sha256:" + wrong + "\n")
    assert head
    assert tail
    done = run("--python", base_python(), person=tmp_path / "p", script=folder / "install.sh")
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert not (tmp_path / "p" / ".opencrust" / "bin").exists()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_where_uv_fails_pip_does_the_same(tmp_path: Path) -> None:
    path = tmp_path / "bin"
    path.mkdir()
    script(path / "uv", '[ "$1" = --version ] && exit 0\nexit 1\n')
    done = run("--python", base_python(), person=tmp_path / "p", path=f"{path}:/usr/bin:/bin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trying pip" in done.stdout
    command = tmp_path / "p" / ".local" / "bin" / "opencrust"
    assert subprocess.run([command, "--help"], env={}, capture_output=True, timeout=60).returncode == 0

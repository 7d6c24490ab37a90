"""`opencrust vault` against a vault that does not run, and against one that does."""

import argparse
import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from opencrust_cli import vault
from opencrust_cli.errors import CommandError
from opencrust_cli.home import Home
from opencrust_vault import opening
from opencrust_vault.administration import Administration
from opencrust_vault.paths import Paths

ROOT = Path(__file__).parents[2]
CANARY = "canary-0123456789-ABCDEFGH"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def run(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run one command in this process: (exit code, what it printed). `stdin` is what it reads."""

    def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        vault.register(parser.add_subparsers())
        options = parser.parse_args(["vault", *arguments])
        options.home = Home(home)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = options.run(options)
        return code, capsys.readouterr().out

    return command


Run = Callable[..., tuple[int, str]]


def test_a_value_goes_in_and_never_comes_out(run: Run, home: Path) -> None:
    assert run("set", "a.b", "--stdin", stdin=CANARY.encode() + b"\n") == (0, "a.b is stored, version 1.\n")
    shown = "".join(
        run(*arguments)[1]
        for arguments in (
            ("list",),
            ("list", "--json"),
            ("get-info", "a.b"),
            ("get-info", "a.b", "--json"),
            ("audit", "--json"),
            ("grant", "--list"),
            ("leases", "--json"),
            ("doctor", "--json"),
        )
    )
    assert "a.b" in shown
    assert CANARY not in shown
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    store = opening.open_unattended(Paths.of_home(home, {}), {})
    assert store.store.get("a.b") == (1, CANARY.encode())
    store.close()


def test_store_is_what_other_commands_use(home: Path) -> None:
    vault.store(home, "provider.openai.api_key", b"one")
    vault.store(home, "provider.openai.api_key", b"two")
    store = opening.open_unattended(Paths.of_home(home, {}), {})
    assert store.store.get("provider.openai.api_key") == (2, b"two")
    store.close()
    with pytest.raises(CommandError) as caught:
        vault.store(home, "../x", CANARY.encode())
    assert CANARY not in str(caught.value)


def test_a_value_may_come_from_a_file_and_never_from_the_command_line(run: Run, home: Path, tmp_path: Path) -> None:
    source = tmp_path / "key.pem"
    source.write_bytes(b"line one\nline two\n")
    run("set", "key", "--file", str(source))
    store = opening.open_unattended(Paths.of_home(home, {}), {})
    assert store.store.get("key")[1] == b"line one\nline two\n"
    store.close()
    with pytest.raises(SystemExit):
        run("set", "key", CANARY)
    with pytest.raises(CommandError, match="cannot be read"):
        run("set", "key", "--file", str(tmp_path / "absent"))
    with pytest.raises(CommandError, match="between 1 and"):
        run("set", "key", "--stdin", stdin=b"\n")


def test_rotating_needs_something_to_rotate(run: Run) -> None:
    with pytest.raises(CommandError, match="vault set"):
        run("rotate", "a", "--stdin", stdin=b"x")
    run("set", "a", "--stdin", stdin=b"x")
    assert run("rotate", "a", "--stdin", stdin=b"y")[1] == "a is stored, version 2.\n"
    assert run("destroy", "a")[0] == 0
    with pytest.raises(CommandError, match="no such secret"):
        run("get-info", "a")


def test_grants_are_made_explained_and_taken_back(run: Run) -> None:
    assert run("why", "agent", "mail.password", "send") == (1, "no: no grant for this service and secret\n")
    run("grant", "agent", "mail.password", "--purpose", "send", "--ttl", "60")
    assert run("why", "agent", "mail.password", "send")[0] == 0
    assert "ttl 60 s" in run("grant", "--list")[1]
    run("revoke", "agent", "mail.password")
    assert run("why", "agent", "mail.password", "send")[0] == 1
    with pytest.raises(CommandError, match="cannot be made"):
        run("grant", "agent", "*", "--purpose", "send")
    with pytest.raises(CommandError, match="say what to revoke"):
        run("revoke")
    with pytest.raises(CommandError, match="64 hex digits"):
        run("revoke", "--certificate", "zz")
    assert run("revoke", "--certificate", "AB:" * 31 + "AB")[0] == 0
    assert "revoke-certificate" in run("audit")[1]


def test_keys_change_and_values_stay(run: Run, home: Path) -> None:
    run("set", "a", "--stdin", stdin=b"value")
    assert "1 keys are sealed" in run("rekey")[1]
    with pytest.raises(CommandError, match="too easy"):
        run("passphrase", "--stdin", stdin=b"hunter2\n")
    run("passphrase", "--stdin", stdin=b"orbit walnut tepid crane lunar fable\n")
    assert "passphrase" in run("doctor")[1]
    run("passphrase", "--remove")
    store = opening.open_unattended(Paths.of_home(home, {}), {})
    assert store.store.get("a") == (1, b"value")
    store.close()


def test_a_recovery_key_is_only_shown_on_a_terminal(run: Run) -> None:
    for arguments in (("init",), ("rekey", "--recovery"), ("rekey", "--root")):
        with pytest.raises(CommandError, match="terminal"):
            run(*arguments)
    assert run("init", "--no-recovery")[0] == 0
    with pytest.raises(CommandError, match="already"):
        run("init", "--no-recovery")


def on_a_terminal(home: Path, *arguments: str, typed: tuple[str, ...] = ()) -> str:
    """Run a command on a pseudo-terminal, typing a line at each prompt."""
    code = (
        "import argparse, sys; from pathlib import Path\n"
        "from opencrust_cli import vault; from opencrust_cli.home import Home\n"
        "parser = argparse.ArgumentParser(); vault.register(parser.add_subparsers())\n"
        "options = parser.parse_args(['vault', *sys.argv[2:]]); options.home = Home(Path(sys.argv[1]))\n"
        "sys.exit(options.run(options))"
    )
    mine, theirs = pty.openpty()
    environment = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("shared", "services/vault", "cli"))}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(home), *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    lines = list(typed)
    try:
        while piece := os.read(mine, 4096):
            shown += piece
            if lines and shown.rstrip(b" ").endswith(b":"):
                os.write(mine, lines.pop(0).encode() + b"\n")
    except OSError:  # the other end was closed
        pass
    os.close(mine)
    assert process.wait(30) == 0, shown.decode()
    return shown.decode()


def recovery_key(shown: str) -> str:
    (line,) = [line.strip() for line in shown.splitlines() if line.strip().startswith("OCR1-")]
    return line


def test_init_restore_and_rekey_on_a_terminal(run: Run, home: Path, tmp_path: Path) -> None:
    recovery = recovery_key(on_a_terminal(home, "init"))
    run("set", "a", "--stdin", stdin=CANARY.encode())
    run("export-backup", str(tmp_path / "backup.tar"))
    with pytest.raises(CommandError, match="exists already"):
        run("export-backup", str(tmp_path / "backup.tar"))

    blank = tmp_path / "blank"
    blank.mkdir(mode=0o700)
    shown = on_a_terminal(blank, "restore", str(tmp_path / "backup.tar"), typed=(recovery,))
    assert "1 secrets are restored" in shown
    assert recovery not in shown, "what is typed is not shown"
    there = opening.open_unattended(Paths.of_home(blank, {}), {})
    assert there.store.get("a") == (1, CANARY.encode())
    assert there.store.generation > 2**20
    there.close()

    fresh = recovery_key(on_a_terminal(home, "rekey", "--root"))
    assert fresh != recovery
    here = opening.open_unattended(Paths.of_home(home, {}), {})
    assert here.store.get("a") == (1, CANARY.encode())
    here.close()


def test_import_moves_plain_secrets_and_leaves_references(run: Run, home: Path) -> None:
    config = home / "config" / "config.json"
    config.parent.mkdir(mode=0o700)
    config.write_text(json.dumps({"providers": [{"name": "x", "credential": CANARY}]}, indent=1))
    code, text = run("import")
    assert (code, "line 5: moved into the vault as provider.x.api_key" in text, CANARY in text) == (0, True, False)
    assert json.loads(config.read_text())["providers"][0]["credential"] == "vault:provider.x.api_key"
    assert config.stat().st_mode & 0o777 == 0o600
    assert "no plain secret" in run("import")[1]
    config.write_text(json.dumps({"providers": [{"name": "x", "credential": CANARY}]}))
    with pytest.raises(CommandError, match="already"):
        run("import")
    assert CANARY in config.read_text()


def test_verify_names_what_happened_to_the_record(run: Run, home: Path) -> None:
    for number in range(3):
        run("set", "a", "--stdin", stdin=b"%d" % number)
    assert run("audit", "--verify")[0] == 0
    log = Paths.of_home(home, {}).audit
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:1] + lines[2:]))
    code, text = run("audit", "--verify")
    assert (code, "record 2 was removed" in text) == (1, True)
    assert run("doctor")[0] == 1


def test_the_commands_speak_to_a_running_vault(run: Run, home: Path) -> None:
    import asyncio

    from opencrust_vault.admin_socket import AdminServer

    paths = Paths.of_home(home, {})
    running = opening.open_unattended(paths, {})
    loop = asyncio.new_event_loop()
    server = AdminServer(paths.socket, opening.admin_key(paths.admin_key), Administration(running).perform)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
    try:
        run("set", "a", "--stdin", stdin=b"value")
        assert running.store.get("a") == (1, b"value")
        with pytest.raises(CommandError, match="no such secret"):
            run("get-info", "absent")
        paths.admin_key.write_bytes(os.urandom(32))
        with pytest.raises(CommandError, match="cannot be reached"):
            run("list")
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
        running.close()
    assert "a  version 1" in run("list")[1]


def test_a_vault_that_vanished_is_not_silently_made_anew(run: Run, home: Path) -> None:
    run("set", "a", "--stdin", stdin=b"value")
    Paths.of_home(home, {}).file.unlink()
    with pytest.raises(CommandError, match="is missing, but there was a vault"):
        run("list")


@pytest.mark.parametrize("variable", ["OPENCRUST_VAULT_KEY", "OPENCRUST_VAULT_PASSPHRASE"])
def test_an_unlock_key_in_the_environment_is_refused(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, CANARY)
    for arguments in (("init", "--no-recovery"), ("list",)):
        with pytest.raises(CommandError, match=variable) as caught:
            run(*arguments)
        assert CANARY not in str(caught.value)
    assert not Paths.of_home(home, {}).file.exists()

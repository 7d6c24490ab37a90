import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opencrust_cli.errors import CommandError
from opencrust_cli.home import Home
from opencrust_cli.main import FAMILIES, main, parser


def every_command(top: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    subparsers = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not subparsers:
        yield words, top
    for action in subparsers:
        for name, sub in action.choices.items():
            yield from every_command(sub, (*words, name))


COMMANDS = dict(every_command(parser()))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_something_to_run(words: tuple[str, ...], opencrust: Callable[..., Any]) -> None:
    outcome = opencrust(*words, "--help")
    assert outcome.code == 0
    assert "usage: opencrust" in outcome.out
    assert callable(COMMANDS[words].get_default("run"))


def test_the_table_of_modules_is_the_list_of_commands() -> None:
    assert list(dict.fromkeys(words[0] for words in COMMANDS)) == list(FAMILIES)


@pytest.mark.parametrize("word", list(FAMILIES))
def test_a_command_is_found_without_importing_the_others(word: str) -> None:
    assert word in {
        words[0] for words in dict(every_command(parser(["--home", "down" if word == "up" else "up", word])))
    }


def test_the_promised_commands_are_there() -> None:
    promised = {"up", "down", "status", "logs", "login-link", "chat", "doctor"}
    assert promised | {"token", "providers", "dlq", "vault"} <= {words[0] for words in COMMANDS}


@pytest.mark.parametrize(
    "words",
    [
        ("login-link",),
        ("chat", "--message", "hello"),
        ("token", "list"),
        ("dlq", "list"),
        ("status",),
        ("down",),
        ("status", "--json"),
    ],
    ids=" ".join,
)
def test_what_needs_a_running_house_ends_with_3_and_says_so(
    words: tuple[str, ...], opencrust: Callable[..., Any]
) -> None:
    outcome = opencrust(*words)
    assert outcome.code == 3
    if "--json" in words:
        assert outcome.out.strip() == '{"services": {}, "state": "stopped"}'
    else:
        assert "not running" in outcome.out + outcome.err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        (),
        ("up", "--port", "many"),
        ("token", "create", "x"),
        ("token", "create", "x", "--scope", "all"),
        ("token", "create", "x", "--scope", "chat", "--expires", "soon"),
        ("token", "create", "x", "--scope", "chat", "--expires", "0d"),
        ("providers", "add", "x", "--kind", "magic", "--model", "m"),
        ("providers", "add", "x", "--kind", "ollama"),
        ("providers", "add", "Not A Name", "--kind", "ollama", "--model", "m"),
        ("providers", "add", "x", "--kind", "anthropic", "--model", "m"),
        ("providers", "add", "x", "--kind", "openai", "--model", "m", "--base-url", "http://u:p@host/"),
        ("chat", "--url", "http://127.0.0.1:1"),
        ("chat", "--json"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_a_reason(words: tuple[str, ...], opencrust: Callable[..., Any]) -> None:
    outcome = opencrust(*words)
    assert outcome.code == 2
    assert outcome.err
    assert "Traceback" not in outcome.err


def test_a_port_below_1024_is_refused(opencrust: Callable[..., Any]) -> None:
    outcome = opencrust("up", "--port", "80")
    assert outcome.code == 2
    assert "1024" in outcome.err


def test_the_home_is_the_option_then_the_variable_then_the_default(tmp_path: Path) -> None:
    assert Home.find(tmp_path, {"OPENCRUST_HOME": "/elsewhere"}).path == tmp_path
    assert Home.find(None, {"OPENCRUST_HOME": "/elsewhere"}).path == Path("/elsewhere")
    assert Home.find(None, {}).path == Path("~/.opencrust").expanduser()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot use"):
        Home(tmp_path / "file" / "home").require_own()


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("opencrust 0.")

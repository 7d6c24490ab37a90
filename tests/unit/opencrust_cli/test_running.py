import os

import pytest

from opencrust_cli import running
from opencrust_cli.errors import NotRunning
from opencrust_cli.home import Home
from opencrust_cli.running import AlreadyRunning, Lock


def test_nothing_runs_in_an_empty_home(home: Home) -> None:
    assert running.find(home) is None
    with pytest.raises(NotRunning):
        running.require(home)


def test_who_holds_the_lock_is_found_and_nobody_else_gets_it(home: Home) -> None:
    lock = Lock(home)
    found = running.find(home)
    assert found is not None
    assert found.pid == os.getpid()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        Lock(home)
    os.close(lock._descriptor)
    assert running.find(home) is None


def test_a_lock_file_of_a_dead_supervisor_means_nothing(home: Home) -> None:
    home.run.mkdir(parents=True)
    home.lock.write_text("1\n")
    assert running.find(home) is None


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_status_is_an_empty_one(home: Home, text: str) -> None:
    home.run.mkdir(parents=True)
    home.status.write_text(text)
    assert running.read_status(home) == {}

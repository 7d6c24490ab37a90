"""A change is seen once, when the file has been still for a moment."""

from pathlib import Path

from opencrust_cli.home import Home
from opencrust_cli.supervisor_watch import ConfigurationWatch


def test_a_change_is_seen_once_and_only_when_it_is_still(tmp_path: Path) -> None:
    time = [0.0]
    (tmp_path / "config").mkdir()
    persona = tmp_path / "config" / "persona.md"
    watch = ConfigurationWatch(Home(tmp_path), lambda: time[0])
    assert not watch.changed()
    persona.write_text("half")
    assert not watch.changed()
    time[0] += 0.9
    persona.write_text("the whole")
    assert not watch.changed()
    time[0] += 0.9
    assert not watch.changed()
    time[0] += 0.2
    assert watch.changed()
    assert not watch.changed()
    persona.unlink()
    assert not watch.changed()
    time[0] += 1.1
    assert watch.changed()


def test_what_was_taken_over_is_no_change(tmp_path: Path) -> None:
    time = [0.0]
    (tmp_path / "config").mkdir()
    watch = ConfigurationWatch(Home(tmp_path), lambda: time[0])
    (tmp_path / "config" / "config.json").write_text("{}")
    watch.settle()
    time[0] += 5
    assert not watch.changed()

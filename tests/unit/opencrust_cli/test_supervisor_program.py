from pathlib import Path

import pytest

from opencrust_cli.supervisor_program import Binary, Program, Service, Tool, dump, load


@pytest.mark.parametrize(
    "what", [Binary(("/bin/true", "-x")), Service(), Tool("module", ("a", "b"))], ids=["binary", "service", "tool"]
)
def test_a_program_survives_the_way_to_another_process(what: Binary | Service | Tool) -> None:
    program = Program(
        name="agent",
        what=what,
        home=Path("/home"),
        directory=Path("/home/state"),
        environment={"A": "ä"},
        read=(Path("/r"),),
        write=(Path("/w"), Path("/v")),
        ready_line="ready",
    )
    assert load(dump(program)) == program

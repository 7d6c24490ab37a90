from opencrust.channel.text import PLAIN, TELEGRAM, parse, render
from opencrust.channel.text.tables import columns, width
from opencrust.channel.text.tree import Table


def test_a_narrow_table_has_columns() -> None:
    (table,) = parse("| name | n |\n|---|--:|\n| a | 1 |\n| 漢字 | 22 |").blocks
    assert isinstance(table, Table)
    assert columns(table) == "name |  n\n-----+---\na    |  1\n漢字 | 22"


def test_a_wide_table_is_records() -> None:
    long = "a long text that does not fit"
    text = f"| name | what | why |\n|---|---|---|\n| x | {long} | {long} |"
    assert render(text, PLAIN) == [f"name: x\nwhat: {long}\nwhy: {long}"]
    assert render(text, TELEGRAM)[0].startswith("<b>name</b>: x")


def test_width_counts_columns() -> None:
    assert width("漢é") == 3

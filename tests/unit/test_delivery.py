"""docs/delivery.md shows what the fault matrix counted, and no broken promise; for Telegram, every row of it."""

import re

from faults.channel_matrix import DOCUMENT, LONG_ROWS, ROWS


def test_nothing_is_lost_doubled_or_out_of_order_in_any_table() -> None:
    tables = re.findall(r"<!-- (\w+): written by the test run -->\n(.*?)<!-- end of \1 -->", DOCUMENT.read_text(), re.S)
    assert "telegram" in dict(tables)
    for channel, table in tables:
        rows = {cells[0]: [int(cell) for cell in cells[1:]] for cells in _cells(table) if cells[0] != "all"}
        assert rows, channel
        if channel == "telegram":
            assert set(rows) == set(ROWS | LONG_ROWS)
            assert sum(counts[0] for counts in rows.values()) >= 1000
        for row, (_, lost, doubled, inverted, lost_out, doubled_out, unknown) in rows.items():
            assert (lost, doubled, inverted, lost_out) == (0, 0, 0, 0), f"{channel}: {row}"
            assert doubled_out <= unknown, f"{channel}: {row}"


def _cells(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines()[2:] if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]

"""The page about engines says of each what its class says."""

from __future__ import annotations

import pytest

from modelport.engines import ENGINES
from support import ROOT

PAGE = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells
    for cells in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.startswith("| `")
    )
    if len(cells) == 5
}
LISTED = [name for name in ENGINES if not ENGINES.get(name).for_tests]


def test_every_engine_has_its_row() -> None:
    assert sorted(ROWS) == sorted(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_the_row_is_true(name: str) -> None:
    engine = ENGINES.get(name)
    _, purpose, routes, precisions, sizes = ROWS[name]
    assert purpose
    assert routes == ", ".join(engine.routes)
    assert precisions == ", ".join(engine.precisions)
    assert sizes == ("free" if engine.rules.free_sizes else "fixed")

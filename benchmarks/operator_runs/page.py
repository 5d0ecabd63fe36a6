"""The page of `docs` that shows which operators each engine takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Table = dict[str, Any]


def page(tables: Sequence[Table], most: int) -> str:
    """All tables side by side, and why an engine takes an operator not, or not as the tests have it."""
    return "\n".join([*_head(tables, most), *_rows(tables), *_reasons(tables), ""])


def _head(tables: Sequence[Table], most: int) -> Iterator[str]:
    yield "# Operators"
    yield ""
    yield "Which standard operators of ONNX each engine takes. Measured, not read from manuals: each"
    yield "operator's own tests from the package `onnx` are compiled, run and compared, up to"
    yield f"{most} of them, fewer for slow engines. A cell counts the tests that pass. `no` means that the"
    yield "engine says it has no such operator: a model with one is refused before it is converted."
    yield "`fails` means that no test passes in the form it has; other forms may, so a model is tried,"
    yield "and compared. An empty cell was not measured: the engine has no inputs or outputs of those types,"
    yield "or they are text, sequences or optional. Tests of element types that nobody deploys count too,"
    yield "so 15/40 is no reason to worry."
    yield ""
    yield "| engine | version | onnx | measured |"
    yield "| --- | --- | --- | --- |"
    for table in tables:
        yield f"| {table['engine']} | {table['version']} | {table['onnx']} | {table['date']} |"
    yield ""
    yield "`python benchmarks/operator_coverage.py` makes this page and the tables that"
    yield "[the check before an export](preflight.md) reads. Run it again after an engine's update."
    yield ""
    yield "## Standard operators"
    yield ""


def _rows(tables: Sequence[Table]) -> Iterator[str]:
    names = [table["engine"] for table in tables]
    yield f"| operator | {' | '.join(names)} |"
    yield f"| --- |{' ---: |' * len(names)}"
    for operator in sorted(set().union(*(_known(table) for table in tables))):
        cells = " | ".join(_cell(table, operator) for table in tables)
        yield f"| {operator} | {cells} |"
    yield ""


def _known(table: Table) -> set[str]:
    return {
        operator for kind in ("takes", "fails", "lacks") for operator in table[kind].get("", {})
    }


def _cell(table: Table, operator: str) -> str:
    taken = table["takes"].get("", {}).get(operator)
    if taken is not None:
        newest = table["until"].get(operator)
        return f"{taken}, to opset {newest}" if newest else str(taken)
    if operator in table["fails"].get("", {}):
        return "fails"
    return "no" if operator in table["lacks"].get("", {}) else ""


def _reasons(tables: Sequence[Table]) -> Iterator[str]:
    yield "## Why not"
    yield ""
    for table in tables:
        yield f"### {table['engine']}"
        yield ""
        told = {**table["lacks"].get("", {}), **table["fails"].get("", {})}
        for operator, reason in sorted(told.items()):
            yield f"- `{operator}`: {reason.replace('<', '&lt;').replace('|', '/')}"
        yield ""

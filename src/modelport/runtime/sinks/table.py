"""CSV: a row for each thing found, by what `Result.rows` gives."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import IO, Any

from modelport.runtime.sinks.base import FileSink
from modelport.runtime.sources.base import Item
from modelport.runtime.tasks.base import Result


class Table(FileSink):
    """Columns are those of all rows, in the order they first came; the input's own come first.

    Which there are is known at the end alone, so rows wait in a temporary file and not in memory.
    """

    _rows: IO[str]

    def write(self, item: Item, result: Result) -> None:
        known = item.to_json()
        for row in result.rows():
            whole = {**known, **row}
            self._columns |= dict.fromkeys(whole)
            self._rows.write(f"{json.dumps(whole)}\n")

    def _open(self, part: Path) -> None:
        self._columns: dict[str, Any] = dict.fromkeys(["file"])
        self._rows = tempfile.TemporaryFile("w+", encoding="utf-8", dir=part.parent)  # noqa: SIM115
        part.touch()

    def _finish(self, whole: bool) -> None:
        with self._rows:
            if whole:
                self._write_table()

    def _write_table(self) -> None:
        self._rows.seek(0)
        with self.part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, self._columns)
            table.writeheader()
            table.writerows(json.loads(line) for line in self._rows)

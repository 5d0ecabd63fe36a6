"""Outcomes of the steps of a search, kept line by line, so that one that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelport.errors import UsageError

QUESTION = "question"


class Ledger:
    """Remembers what a step gave. A line is written when its step is done; a torn one is forgotten.

    Args:
        path: the file; None keeps outcomes for the life of this object alone.
        question: what is asked, by parts; outcomes of another question are not these.

    Raises:
        UsageError: where the file holds the answers to another question.
    """

    def __init__(self, path: Path | None = None, question: dict[str, str] | None = None) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self.found = 0
        if path is None:
            return
        self._known = _read(path)
        self.found = max(0, len(self._known) - 1)
        asked = question or {}
        if self._known.setdefault(QUESTION, asked) != asked:
            raise _other(path, self._known[QUESTION], asked)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(QUESTION, asked)

    def once(self, key: str, step: Callable[[], Any]) -> Any:
        """What the step gave when it was first done, which may be now. JSON values only."""
        if key not in self._known:
            self._known[key] = step()
            self._write(key, self._known[key])
        return self._known[key]

    def _write(self, key: str, value: Any) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": key, "gave": value}) + "\n")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    known: dict[str, Any] = {}
    whole = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            entry = json.loads(line) if line.endswith("\n") else {}
            known[entry["step"]] = entry["gave"]
        except (ValueError, KeyError, TypeError):
            break
        whole.append(line)
    if len("".join(whole).encode()) != path.stat().st_size:
        path.write_text("".join(whole), encoding="utf-8")
    return known


def _other(path: Path, had: Any, asked: dict[str, str]) -> UsageError:
    had = had if isinstance(had, dict) else {}
    changed = sorted(name for name in {*had, *asked} if had.get(name) != asked.get(name))
    return UsageError(
        f"{path} holds a search that asked something else: its {', '.join(changed)} differed",
        hint="Choose another folder, or give --overwrite to begin anew",
    )

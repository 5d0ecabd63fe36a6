"""Where experience is kept between searches: a file for each model, in a folder for each kind of machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelport.cores import usable_cores
from modelport.places import home
from modelport.tune.experience import Experience, Relative

MOST_MODELS = 50
"""The last ones are read."""

VARIABLE = "MODELPORT_EXPERIENCE"
"""Names another folder; `0` for none."""


def experience_folder(features: str) -> Path | None:
    """That of machines like this one; None where the user wants none.

    Args:
        features: what the processor can do, in words.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen == "0":
        return None
    place = Path(chosen).expanduser() if chosen else home() / "experience"
    told = f"{platform.machine()} {usable_cores()} {features}"
    return place / hashlib.sha256(told.encode()).hexdigest()[:16]


class Notebook:
    """What is known of models on machines like this one.

    Args:
        folder: None where nothing is kept.
        model: digest of the one that is searched for.
        versions: of engines, by name; of others nothing is taken.
    """

    def __init__(self, folder: Path | None, model: str, versions: Mapping[str, str]) -> None:
        self._folder, self._model, self._versions = folder, model, dict(versions)

    def of_others(self) -> Experience:
        """What other models taught. The model's own search remembers what was measured of it."""
        if self._folder is None:
            return Experience()
        files = [path for path in self._folder.glob("*.json") if path.stem != self._model]
        last = sorted(files, key=lambda path: (path.stat().st_mtime, path.name))[-MOST_MODELS:]
        return Experience([self._read(path) for path in last])

    def write(self, relative: Relative, engines: Mapping[str, str]) -> None:
        """Keeps what a search found, unless an earlier one of the same model found more. A folder that
        cannot be written costs the next search time, no more.

        Args:
            engines: the engine of each choice, by name.
        """
        if self._folder is None or len(relative) < 2:
            return
        path = self._folder / f"{self._model}.json"
        if len(self._read(path)) > len(relative):
            return
        told: dict[str, Any] = {}
        for name, ratio in relative.items():
            entry = {"version": self._versions[engines[name]], "relative": {}}
            told.setdefault(engines[name], entry)["relative"][name] = round(ratio, 4)
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{self._model}.{os.getpid()}"
            partial.write_text(json.dumps(told, indent=1), encoding="utf-8")
            os.replace(partial, path)

    def _read(self, path: Path) -> dict[str, float]:
        """A file that is not what was written teaches nothing."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return {
                name: float(ratio)
                for engine, entry in told.items()
                if entry["version"] == self._versions.get(engine)
                for name, ratio in entry["relative"].items()
                if ratio > 0
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

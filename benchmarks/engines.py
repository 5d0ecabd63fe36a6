"""Every engine and precision on nine models, and the tuner against an exhaustive search.

    pip install -c constraints.txt -e ".[bench]"
    modelport engines install mnn ncnn litert executorch
    python benchmarks/engines.py run [--only resnet50] [--steps exhaustive,cold,halving,race]
    python benchmarks/engines.py table

A model is searched by trying everything (`exhaustive`); by halving as on a machine that has tuned nothing
before (`cold`); and by halving as on one that has tuned the other models of this benchmark (`halving`), of
which it knows what their exhaustive searches found. Each search has caches of its own that are empty at
first. In the `race` the choices, one variant of each engine and precision, and plain `torch.onnx.export`
with ONNX Runtime are timed in turn, in one process. Outcomes go to `benchmarks/.engines/rows.jsonl`: a run
goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnxruntime as ort
import torch
from engine_runs.roofline import measured as measured_roof
from engine_runs.subjects import FEEDS, SUBJECTS, Subject
from torch import nn

import modelport
from modelport.engines import ENGINES
from modelport.engines.cache import features
from modelport.engines.workers.wire import artifact_from_json
from modelport.places import home
from modelport.profile.latency import interleaved
from modelport.progress import Told
from modelport.tune.experience import relative_times
from modelport.tune.ledger import Ledger
from modelport.tune.notebook import VARIABLE, Notebook, experience_folder
from modelport.tuning import Tuning

FOLDER = Path(__file__).resolve().parent / ".engines"
ROWS = FOLDER / "rows.jsonl"
ENGINES_TRIED = (
    "onnxruntime", "openvino", "mnn", "ncnn", "torchscript", "aotinductor", "litert", "executorch",
)  # fmt: skip
PLAIN = "plain"
BUDGET = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--steps", default=",".join(STEPS), help="names joined by commas")
    parser.add_argument("--engines", default=",".join(ENGINES_TRIED), help="names joined by commas")
    parser.add_argument("--again", action="store_true", help="also steps that were done")
    arguments = parser.parse_args()
    if arguments.command == "table":
        from engine_runs.table import publish

        publish(rows())
        return
    names = [name for name in arguments.engines.split(",") if ENGINES.get(name).available() is None]
    for step in arguments.steps.split(","):
        for name, subject in SUBJECTS.items():
            done = rows().get(name, {})
            if arguments.only in name and (step not in done or arguments.again):
                made = STEPS[step](name, subject, names, done)
                with ROWS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"model": name, **made}) + "\n")


def rows() -> dict[str, dict[str, Any]]:
    """What is known of each model."""
    found: dict[str, dict[str, Any]] = {}
    if ROWS.exists():
        for line in map(json.loads, ROWS.read_text(encoding="utf-8").splitlines()):
            found.setdefault(line["model"], {}).update(line)
    return found


def _exhaustive(
    name: str, subject: Subject, engines: list[str], done: dict[str, Any]
) -> dict[str, Any]:
    return {
        "engines": {each: ENGINES.get(each).version() for each in engines},
        "exhaustive": _searched(name, subject, engines, "exhaustive"),
    }


def _cold(name: str, subject: Subject, engines: list[str], done: dict[str, Any]) -> dict[str, Any]:
    return {"cold": _searched(name, subject, engines, "cold")}


def _halving(
    name: str, subject: Subject, engines: list[str], done: dict[str, Any]
) -> dict[str, Any]:
    others = {
        other: row["exhaustive"]["candidates"]
        for other, row in rows().items()
        if other != name and "exhaustive" in row
    }
    with (
        tempfile.TemporaryDirectory(prefix="modelport-", dir=FOLDER) as notes,
        _set(VARIABLE, notes),
    ):
        for other, candidates in others.items():
            _note(other, candidates)
        found = _searched(name, subject, engines, "halving", notes)
    return {
        "engines": {each: ENGINES.get(each).version() for each in engines},
        "halving": found,
        "learnt_from": sorted(others),
    }


def _note(model: str, candidates: list[dict[str, Any]]) -> None:
    """Writes down what a model taught, as its search does."""
    times = {each["name"]: each["latency_ms"] for each in candidates if each["latency_ms"]}
    versions = {name: ENGINES.get(name).version() for name in ENGINES_TRIED}
    owners = {name: name.partition("-")[0] for name in times}
    Notebook(experience_folder(features()), model, versions).write(relative_times([times]), owners)


def _race(name: str, subject: Subject, engines: list[str], done: dict[str, Any]) -> dict[str, Any]:
    module = subject.module()
    return {
        "roof": asdict(measured_roof(os.cpu_count() or 1)),
        "multiply_adds": _multiply_adds(module, subject),
        "latencies": _in_turn(module, subject, done, _folder(name)),
    }


STEPS = {"exhaustive": _exhaustive, "cold": _cold, "halving": _halving, "race": _race}


def _folder(name: str) -> Path:
    made = FOLDER / "".join(letter if letter.isalnum() else "_" for letter in name)
    made.mkdir(parents=True, exist_ok=True)
    return made


def _searched(
    name: str, subject: Subject, engines: list[str], how: str, experience: str = "0"
) -> dict[str, Any]:
    """What the search found. Of its artifacts those that the race needs are kept."""
    place = _folder(name)
    shutil.rmtree(place / how, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="modelport-", dir=FOLDER) as scratch:
        data = _data(subject, Path(scratch) / "feeds")
        with _set(VARIABLE, experience):
            found = _tuned(subject.module(), subject, data, place, engines, how).to_json()
    shutil.rmtree(place / how / "home")
    kept = {_artifact_of(candidate) for candidate in _shown(found)}
    for artifact in (place / how / "search" / "artifacts").iterdir():
        if artifact.name not in kept:
            shutil.rmtree(artifact)
    return found


def _data(subject: Subject, folder: Path) -> Path:
    folder.mkdir()
    for seed in range(FEEDS):
        np.savez(folder / f"{seed:02}.npz", **subject.feeds(seed))
    return folder


def _tuned(
    module: nn.Module, subject: Subject, data: Path, place: Path, engines: list[str], how: str
) -> Tuning:
    """With caches that are empty, so that neither search profits from the other."""
    own = place / how / "home"
    own.mkdir(parents=True)
    (own / "engines").symlink_to(home() / "engines")
    from modelport.commands.common import err
    from modelport.tuning import STAGES

    with _set("MODELPORT_HOME", str(own)), Told(err, STAGES) as progress:
        return modelport.tune(
            module, subject.inputs, output=place / how / "search", calibration=data,
            budget=BUDGET, engines=engines, exhaustive=how == "exhaustive", progress=progress,
        )  # fmt: skip


@contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _multiply_adds(module: nn.Module, subject: Subject) -> int:
    from modelport.frontends import ExportOptions, open_source
    from modelport.optimization import optimize
    from modelport.profile.cost import cost_of

    source = open_source(module, inputs=subject.inputs, options=ExportOptions())
    return cost_of(optimize(source.to_graph()).model).multiply_adds


def _in_turn(
    module: nn.Module, subject: Subject, done: dict[str, Any], place: Path
) -> dict[str, dict[str, Any]]:
    """The best of each engine and precision, and the choices, against the plain way."""
    feeds = subject.feeds(0)
    with ExitStack() as opened:
        calls: dict[str, Callable[[], object]] = {PLAIN: _plain(module, feeds, place)}
        for how in [how for how in ("halving", "cold", "exhaustive") if how in done]:
            folder = place / how / "search"
            known = Ledger(folder / "trials.jsonl", _question(folder))
            for candidate in _shown(done[how]):
                if candidate in calls:
                    continue
                artifact = known.once(f"compile {_artifact_of(candidate)}", dict)["artifact"]
                session = opened.enter_context(
                    ENGINES.get(artifact["engine"]).load(
                        artifact_from_json(artifact), threads=int(candidate[:-1].rpartition("-")[2])
                    )
                )
                calls[candidate] = partial(session.run, feeds)
        times = interleaved(calls, rounds=24, warm=2, counted=3, budget_s=12.0 * len(calls))
    return {name: asdict(latency) for name, latency in times.items()}


def _question(folder: Path) -> Any:
    with (folder / "trials.jsonl").open(encoding="utf-8") as file:
        return json.loads(file.readline())["gave"]


def _artifact_of(candidate: str) -> str:
    return candidate.rpartition("-")[0]


def _shown(search: dict[str, Any]) -> list[str]:
    """The choice, and the fastest of each engine and precision that was timed and is the same model."""
    best: dict[str, tuple[float, str]] = {}
    for each in search["candidates"]:
        if each["latency_ms"] is not None and each["loss"] is not None:
            kind = "-".join(each["name"].split("-")[:2])
            found = (each["latency_ms"], each["name"])
            best[kind] = min(best.get(kind, found), found)
    names = [search["chosen"]]
    return [*names, *(name for _, name in best.values() if name not in names)]


def _plain(module: nn.Module, feeds: dict[str, Any], place: Path) -> Callable[[], object]:
    """`torch.onnx.export` as it comes, run by ONNX Runtime as it comes, on all cores."""
    path = place / "plain.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(torch.from_numpy(array) for array in feeds.values()), path,
            input_names=list(feeds), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    given = {name: feeds[name] for name in names}
    return lambda: session.run(None, given)


if __name__ == "__main__":
    main()

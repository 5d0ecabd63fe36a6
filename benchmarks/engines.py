"""Every engine and precision on nine models, and the tuner against an exhaustive search.

    pip install -c constraints.txt -e ".[bench]"
    modelport engines install mnn ncnn litert executorch
    python benchmarks/engines.py run [--only resnet50] [--exhaustive]
    python benchmarks/engines.py table

A model is tuned, once by halving and, where asked, once by trying everything, each with caches of its own
that are empty at first. Then one variant of each engine and precision, the tuner's choice and plain
`torch.onnx.export` with ONNX Runtime are timed in turn, in one process. Rows go to
`benchmarks/.engines/rows.jsonl`: a run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
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
from modelport.engines.workers.wire import artifact_from_json
from modelport.places import home
from modelport.profile.latency import interleaved
from modelport.progress import Told
from modelport.tune.ledger import Ledger
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
    parser.add_argument("--exhaustive", action="store_true", help="search exhaustively as well")
    parser.add_argument("--engines", default=",".join(ENGINES_TRIED), help="names joined by commas")
    parser.add_argument("--again", action="store_true", help="also models that have a row")
    arguments = parser.parse_args()
    if arguments.command == "table":
        from engine_runs.table import publish

        publish(rows())
        return
    names = [name for name in arguments.engines.split(",") if ENGINES.get(name).available() is None]
    for name, subject in SUBJECTS.items():
        done = rows().get(name, {})
        wanted = not done or (arguments.exhaustive and "exhaustive" not in done)
        if arguments.only in name and (wanted or arguments.again):
            row = _run(name, subject, names, arguments.exhaustive)
            with ROWS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def rows() -> dict[str, dict[str, Any]]:
    """The last row of each model."""
    if not ROWS.exists():
        return {}
    found = map(json.loads, ROWS.read_text(encoding="utf-8").splitlines())
    return {row["model"]: row for row in found}


def _run(name: str, subject: Subject, engines: list[str], exhaustive: bool) -> dict[str, Any]:
    FOLDER.mkdir(exist_ok=True)
    module = subject.module()
    with tempfile.TemporaryDirectory(prefix="modelport-", dir=FOLDER) as scratch:
        place = Path(scratch)
        data = _data(subject, place / "feeds")
        tune = partial(_tuned, module, subject, data, place, engines)
        row: dict[str, Any] = {
            "model": name,
            "engines": {each: ENGINES.get(each).version() for each in engines},
            "roof": asdict(measured_roof(os.cpu_count() or 1)),
        }
        found = tune("halving")
        row["halving"] = found.to_json()
        searches = [found]
        if exhaustive:
            searches.append(tune("exhaustive"))
            row["exhaustive"] = searches[1].to_json()
        row["multiply_adds"] = _multiply_adds(module, subject)
        row["latencies"] = _in_turn(module, subject, searches, place)
    return row


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
    before = os.environ.get("MODELPORT_HOME")
    os.environ["MODELPORT_HOME"] = str(own)
    try:
        from modelport.commands.common import err
        from modelport.tuning import STAGES

        with Told(err, STAGES) as progress:
            return modelport.tune(
                module, subject.inputs, output=place / how / "search", calibration=data,
                budget=BUDGET, engines=engines, exhaustive=how == "exhaustive", progress=progress,
            )  # fmt: skip
    finally:
        if before is None:
            del os.environ["MODELPORT_HOME"]
        else:
            os.environ["MODELPORT_HOME"] = before


def _multiply_adds(module: nn.Module, subject: Subject) -> int:
    from modelport.frontends import ExportOptions, open_source
    from modelport.optimization import optimize
    from modelport.profile.cost import cost_of

    source = open_source(module, inputs=subject.inputs, options=ExportOptions())
    return cost_of(optimize(source.to_graph()).model).multiply_adds


def _in_turn(
    module: nn.Module, subject: Subject, searches: list[Tuning], place: Path
) -> dict[str, dict[str, Any]]:
    """The best of each engine and precision, and the choices, against the plain way."""
    feeds = subject.feeds(0)
    with ExitStack() as opened:
        calls: dict[str, Callable[[], object]] = {PLAIN: _plain(module, feeds, place)}
        for search in searches:
            known = Ledger(search.path / "trials.jsonl", _question(search.path))
            for candidate in _shown(search):
                if candidate in calls:
                    continue
                artifact = known.once(f"compile {_artifact_of(candidate)}", dict)["artifact"]
                session = opened.enter_context(
                    ENGINES.get(artifact["engine"]).load(
                        artifact_from_json(artifact), threads=int(candidate[:-1].rpartition("-")[2])
                    )
                )
                calls[candidate] = partial(session.run, feeds)
        times = interleaved(calls, rounds=30, warm=1, counted=2, budget_s=8.0 * len(calls))
    return {name: asdict(latency) for name, latency in times.items()}


def _question(folder: Path) -> Any:
    with (folder / "trials.jsonl").open(encoding="utf-8") as file:
        return json.loads(file.readline())["gave"]


def _artifact_of(candidate: str) -> str:
    return candidate.rpartition("-")[0]


def _shown(search: Tuning) -> list[str]:
    """The choice, and the fastest of each engine and precision that was timed and is the same model."""
    names = [search.chosen.name]
    best: dict[str, tuple[float, str]] = {}
    for candidate in search.candidates:
        fidelity = candidate.fidelity
        if candidate.latency is None or fidelity is None or not fidelity.passed:
            continue
        engine, precision = candidate.name.split("-")[:2]
        engine = "-".join([engine, precision])
        found = (candidate.latency.median_ms, candidate.name)
        best[engine] = min(best.get(engine, found), found)
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

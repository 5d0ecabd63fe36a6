"""The search on real engines: it finds, resumes, and becomes a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import modelport
from modelport.deployment import bench
from modelport.errors import UsageError
from modelport.tune.search import FINALISTS
from modelport.tune.select import CLOSE_CALL
from support import small_net

ENGINES = ["onnxruntime", "torchscript"]


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feeds")
    generator = np.random.default_rng(0)
    for index in range(6):
        np.save(folder / f"{index}.npy", generator.normal(size=(1, 3, 32, 32)).astype(np.float32))
    return folder


def search(output: Path, feeds: Path, **settings: Any) -> modelport.tuning.Tuning:
    chosen: dict[str, Any] = {"engines": ENGINES, "precisions": ["fp32"], "threads": [1, 2]}
    return modelport.tune(
        small_net(), "x=1x3x32x32", output=output, calibration=feeds, **{**chosen, **settings}
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, feeds: Path) -> modelport.tuning.Tuning:
    return search(tmp_path_factory.mktemp("tune") / "search", feeds)


def test_it_measures_what_it_tries(found: modelport.tuning.Tuning) -> None:
    names = {candidate.name for candidate in found.candidates}
    assert names == {
        f"{kind}-{threads}t"
        for kind in (
            "onnxruntime-fp32", "onnxruntime-fp32-nchw", "torchscript-fp32-direct",
            "torchscript-fp32-direct-nhwc",
        )
        for threads in (1, 2)
    }  # fmt: skip
    chosen = found.chosen
    assert chosen.latency is not None
    assert chosen.fidelity is not None
    assert chosen.fidelity.samples == 6
    assert chosen.size_bytes is not None
    assert chosen.memory_bytes is None or 20e6 < chosen.memory_bytes < 4e9
    assert chosen.start_up_ms is not None
    assert chosen.start_up_ms > chosen.latency.median_ms
    timed = [c.latency.median_ms for c in found.candidates if c.latency and c.latency.rounds >= 20]
    assert chosen.latency.median_ms <= min(timed) * (1 + CLOSE_CALL)


def test_the_summary_is_what_was_found(found: modelport.tuning.Tuning) -> None:
    told = json.loads((found.path / "tuning.json").read_text())
    assert told == found.to_json()
    assert told["chosen"] == found.chosen.name
    assert all(row["reason"] for row in told["candidates"])
    assert (found.path / "pareto.svg").read_text().count("<svg") == 1


def test_it_goes_on_where_it_was(
    found: modelport.tuning.Tuning, feeds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was measured before")

    monkeypatch.setattr(bench, "time_sessions", never)
    monkeypatch.setattr(bench, "start", never)
    again = search(found.path, feeds)
    assert again.resumed > 0
    assert again.chosen == found.chosen


def test_half_a_search_goes_on(found: modelport.tuning.Tuning, feeds: Path, tmp_path: Path) -> None:
    lines = (found.path / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "trials.jsonl").write_text("".join(lines[:4]) + lines[4][:20])
    again = search(tmp_path / "search", feeds)
    assert again.resumed == 3
    assert again.chosen.fidelity is not None


def test_another_question_is_refused(found: modelport.tuning.Tuning, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "0.npy", np.ones((1, 3, 32, 32), np.float32))
    with pytest.raises(UsageError, match="its calibration data, verification data differed"):
        search(found.path, other)


def test_a_folder_of_something_else_is_left_alone(feeds: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="no search has written it"):
        search(tmp_path, feeds, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_bundle_of_what_was_found(
    found: modelport.tuning.Tuning, feeds: Path, tmp_path: Path
) -> None:
    module = small_net()
    bundle = modelport.deploy(
        module, "x=1x3x32x32", output=tmp_path / "bundle", calibration=feeds, target="auto",
        trials=found.path, engines=ENGINES, precisions=["fp32"], report=False,
    )  # fmt: skip
    default = bundle.variants[0]
    assert default.name == bundle.manifest.default == found.chosen.name
    assert default.options["threads"] == int(found.chosen.name[-2])
    assert default.latency is not None
    assert default.latency.threads == default.options["threads"]
    assert default.start_up_ms == found.chosen.start_up_ms
    assert 1 <= sum(bool(variant.files) for variant in bundle.variants) <= FINALISTS
    feed = np.load(feeds / "1.npy")
    with torch.inference_mode(), modelport.load(bundle.path) as predictor:
        (got,) = predictor.session.run({"x": feed}).values()
        assert np.allclose(got, module(torch.from_numpy(feed)).numpy(), atol=1e-4)
    assert modelport.verify(bundle.path).passed
    assert (found.path / "artifacts").is_dir(), "the folder of the search stays as it is"


def test_the_search_of_a_deployment_leaves_nothing_beside_the_bundle(
    feeds: Path, tmp_path: Path
) -> None:
    bundle = modelport.deploy(
        small_net(), "x=1x3x32x32", output=tmp_path / "bundle", calibration=feeds, target="auto",
        engines=["onnxruntime"], threads=1, report=False,
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert {"artifacts", "cases", "modelport.json"} == {p.name for p in bundle.path.iterdir()}
    assert bundle.variants[0].name.endswith("-1t")
    assert modelport.verify(bundle.path).passed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "phone"}, "There is no target 'phone'. Expected auto"),
        ({"trials": "somewhere"}, "Add --target auto, or leave --trials out"),
    ],
)
def test_targets_that_cannot_be_meant(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        modelport.deploy(small_net(), "x=1x3x32x32", output=tmp_path / "b", **settings)
    assert words in str(caught.value)

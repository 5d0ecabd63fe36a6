"""The passes of one engine: what they do, how they are checked, and that others are left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, graph, weight

from modelport.engines import ENGINES
from modelport.errors import VerificationError
from modelport.feeds import random_feeds
from modelport.graph.query import signature_of
from modelport.optimization import Probe, probe_with
from modelport.passes import PASSES
from modelport.passes.pipelines import PER_ENGINE, PORTABLE, for_engine
from modelport.tailoring import Tailor
from modelport.types import Target
from modelport.variants import Plan, compile_all


def model() -> ir.Model:
    return graph(
        "a = Conv (x, w)\nb = PRelu (a, slope)\nc = Mish (b)\ny = Softmax <axis = -1> (c)",
        takes="float[1,3,6,6] x",
        gives="float[1,4,4,4] y",
        w=weight(4, 3, 3, 3),
        slope=weight(4, 1, 1),
    )


def old_softmax() -> ir.Model:
    return graph(
        "y = Softmax <axis = 1> (x)", takes="float[2,3,4] x", gives="float[2,3,4] y", opset=11
    )


def probe_of(source: ir.Model) -> Probe:
    return probe_with([random_feeds(signature_of(source), seed) for seed in (1, 2)])


def test_each_engine_has_passes_of_its_own() -> None:
    source = model()
    tailor = Tailor(probe_of(source))
    ort, ov = (
        tailor.fit(source, ENGINES.get(name), ENGINES.get(name).rules.legalize)
        for name in ("onnxruntime", "openvino")
    )
    assert {"PRelu", "Mish"}.isdisjoint(node.op_type for node in ort.graph)
    assert ov is source, "nothing of it is for OpenVINO"
    assert [(record.name, record.engine) for record in tailor.records] == [
        ("decompose_mish", "onnxruntime"),
        ("decompose_prelu", "onnxruntime"),
    ]
    feeds = random_feeds(signature_of(source), 3)
    want, got = by_onnxruntime(source, feeds), by_onnxruntime(ort, feeds)
    np.testing.assert_allclose(got["y"], want["y"], rtol=1e-4, atol=1e-6)


def test_a_graph_is_fitted_once() -> None:
    source, engine = model(), ENGINES.get("onnxruntime")
    tailor = Tailor()
    assert tailor.fit(source, engine, ()) is tailor.fit(source, engine, ())
    assert len(tailor.records) == 2


def test_a_pass_that_changes_the_results_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the others of that engine stay."""

    def spoil(self: object, model: ir.Model) -> bool:
        (mish,) = [node for node in model.graph if node.op_type == "Mish"] or [None]
        if mish is not None:
            mish.op_type = "Sigmoid"
        return mish is not None

    monkeypatch.setattr(type(PASSES.get("decompose_mish")), "apply", spoil)
    source = model()
    tailor = Tailor(probe_of(source))
    fitted = tailor.fit(source, ENGINES.get("onnxruntime"), ())
    assert "Mish" in [node.op_type for node in fitted.graph]
    assert "PRelu" not in [node.op_type for node in fitted.graph]
    rejected = {record.name: record.rejected for record in tailor.records}
    assert "it changed the results" in (rejected["decompose_mish"] or "")
    assert rejected["decompose_prelu"] is None


def test_what_cannot_be_compared_gets_what_the_engine_needs_and_no_more() -> None:
    def fails(_: ir.Model) -> list[dict[str, np.ndarray]]:
        raise VerificationError("no two runs agree")

    engine = ENGINES.get("onnxruntime")
    assert [n.op_type for n in Tailor(fails).fit(model(), engine, ()).graph][1] == "PRelu"
    softmax = Tailor(fails).fit(old_softmax(), ENGINES.get("openvino"), ("legalize_softmax",))
    assert next(iter(softmax.graph)).op_type == "Flatten"


def test_openvino_computes_old_softmax_right(tmp_path: Path) -> None:
    """It reads that of opset 11 as that of 13; both are files that users have."""
    if ENGINES.get("openvino").available() is not None:
        pytest.skip("OpenVINO is not installed")
    source = old_softmax()
    plans = [Plan("openvino", Target(threads=1))]
    (compiled,) = compile_all(source, plans, [], tmp_path, lambda _: None, Tailor())
    assert compiled.artifact is not None, compiled.problem
    feeds = random_feeds(signature_of(source), 1)
    with ENGINES.get("openvino").load(compiled.artifact, threads=1) as session:
        found = session.run(feeds)["y"]
    np.testing.assert_allclose(found, by_onnxruntime(source, feeds)["y"], rtol=1e-5, atol=1e-6)


def test_passes_of_engines_are_named_with_their_reasons() -> None:
    portable = {name for name, _ in PORTABLE}
    for engine, steps in PER_ENGINE.items():
        assert engine in ENGINES
        assert all(name in PASSES and reason for name, reason in steps)
        assert portable.isdisjoint(name for name, _ in steps)
    assert for_engine("null") == []


def test_what_rules_ask_for_comes_first() -> None:
    engine = ENGINES.get("onnxruntime")
    rules = replace(engine.rules, legalize=("inline_functions",))
    names = [step.name for step in for_engine("onnxruntime", rules.legalize)]
    assert names[:2] == ["infer_shapes", "inline_functions"]
    assert names[-1] == "remove_unused"

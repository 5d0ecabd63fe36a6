"""The passes of one engine: what they do, how they are checked, and that others are left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, by_reference, graph, weight

from modelport.engines import ENGINES
from modelport.engines.scratch import opened
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


def quantized() -> ir.Model:
    """Three convolutions with SiLU and a Gemm, between integers with zero points."""
    body, constants, last = "", {}, "x"

    def pair(name: str, of: str, scales: str = "s") -> str:
        return f"""
        q{name} = QuantizeLinear ({of}, {scales}, z)
        {name} = DequantizeLinear (q{name}, {scales}, z)
        """

    for index in range(3):
        body += pair(f"d{index}", last)
        body += f"""
        w{index} = DequantizeLinear <axis = 0> (k{index}, r)
        c{index} = Conv <pads = [1, 1, 1, 1]> (d{index}, w{index})
        {pair(f"a{index}", f"c{index}")}
        e{index} = Sigmoid (a{index})
        {pair(f"g{index}", f"e{index}", "t")}
        y{index} = Mul (a{index}, g{index})
        """
        integers = np.random.default_rng(index).integers(-127, 128, (8, 8, 3, 3))
        constants[f"k{index}"] = integers.astype(np.int8)
        last = f"y{index}"
    body += f"""
    m = ReduceMean <keepdims = 0> ({last}, axes)
    {pair("d", "m", "t")}
    w = DequantizeLinear <axis = 1> (k, r)
    y = Gemm (d, w, b)
    """
    return graph(
        body,
        takes="float[1,8,12,12] x",
        gives="float[1,8] y",
        s=np.float32(0.02),
        t=np.float32(0.008),
        z=np.int8(-9),
        r=np.full(8, 0.003, np.float32),
        k=np.random.default_rng(9).integers(-127, 128, (8, 8)).astype(np.int8),
        b=weight(8),
        axes=np.asarray([2, 3]),
        **constants,
    )


def test_checks_compute_what_the_standard_says() -> None:
    """ONNX Runtime's own Softmax of integers is a step beside; a check would find that pass guilty."""
    source = graph(
        """
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        e = Softmax <axis = -1> (d)
        p = QuantizeLinear (e, t, z)
        y = DequantizeLinear (p, t, z)
        """,
        takes="float[1,8,12,12] x",
        gives="float[1,8,12,12] y",
        s=np.float32(0.02),
        t=np.float32(0.004),
        z=np.int8(-30),
    )
    feeds = [random_feeds(signature_of(source), 1)]
    want = by_reference(source, feeds[0])["y"]
    assert np.array_equal(probe_with(feeds)(source)[0]["y"], want)
    with opened(ENGINES.get("onnxruntime"), source, Target(precision="int8")) as session:
        assert not np.array_equal(session.run(feeds[0])["y"], want), "such kernels are still there"


def test_passes_on_integers_pass_the_check() -> None:
    source = quantized()
    tailor = Tailor(probe_of(source))
    tailor.fit(source, ENGINES.get("onnxruntime"), ("unsigned_activations",))
    assert {record.name: record.rejected for record in tailor.records} == {
        "unsigned_activations": None,
        "round_gemm_biases": None,
    }


def test_one_step_beside_the_right_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that calls itself exact may not be off by a zero point."""

    def spoil(self: object, model: ir.Model) -> bool:
        readers = [node for node in model.graph if node.name == "spoilt"]
        (first, *_) = [node for node in model.graph if node.op_type == "DequantizeLinear"]
        if readers:
            return False
        first.name = "spoilt"
        beside = ir.Value(
            name="beside", type=ir.TensorType(ir.DataType.INT8), shape=ir.Shape(()),
            const_value=ir.tensor(np.int8(-8), name="beside"),
        )  # fmt: skip
        model.graph.register_initializer(beside)
        first.replace_input_with(2, beside)
        return True

    monkeypatch.setattr(type(PASSES.get("unsigned_activations")), "apply", spoil)
    source = quantized()
    tailor = Tailor(probe_of(source))
    tailor.fit(source, ENGINES.get("openvino"), ("unsigned_activations",))
    (record,) = [record for record in tailor.records if record.name == "unsigned_activations"]
    assert record.rejected is not None
    assert "it changed the results" in record.rejected

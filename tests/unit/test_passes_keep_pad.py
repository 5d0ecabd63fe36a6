"""A Pad that an engine would fold into MaxPool wrongly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from helpers import apply, by_reference, graph

from modelport.graph import io
from modelport.passes import PASSES
from modelport.passes.keep_pad import SMALLEST

PADS = np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


def pooled(pad: str, *, opset: int = 20, kind: str = "float", **given: np.ndarray) -> ir.Model:
    text = f"{pad}\ny = MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (p)"
    used = {"pads": PADS, **given} if "pads)" in text or "pads," in text else given
    return graph(text, takes=f"{kind}[1,2,6,6] x", gives=f"{kind}[1,2,A,B] y", opset=opset, **used)


@pytest.mark.parametrize("pad", ["p = Pad (x, pads)", "p = Pad (x, pads, zero)"])
def test_zero_becomes_the_smallest_number(pad: str) -> None:
    given = {"zero": np.asarray(0, np.float32)} if "zero" in pad else {}
    model = pooled(pad, **given)
    assert apply("keep_pad", model, exact=False).operators == ["Pad", "MaxPool"]
    number = model.graph[0].inputs[2]
    assert number is not None
    assert number.const_value is not None
    assert number.const_value.numpy() == np.float32(SMALLEST) > 0


def test_the_attribute_of_old_opsets() -> None:
    model = pooled("p = Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1]> (x)", opset=10)
    apply("keep_pad", model, exact=False)
    assert model.graph[0].attributes["value"].as_float() == np.float32(SMALLEST)


@pytest.mark.parametrize(
    ("pad", "given", "reason"),
    [
        ("p = Pad (x, pads, low)", {"low": np.asarray(-9, np.float32)}, "it pads with -9"),
        ('p = Pad <mode = "edge"> (x, pads)', {}, "it does not pad with a constant"),
        (
            "n = ReduceMax <keepdims = 0> (x)\np = Pad (x, pads, n)",
            {},
            "the number that it pads with is computed",
        ),
    ],
)
def test_refusals(pad: str, given: dict[str, np.ndarray], reason: str) -> None:
    assert apply("keep_pad", pooled(pad, **given)).reasons == [reason]


def test_half_precision_has_no_number_as_small() -> None:
    applied = apply("keep_pad", pooled("p = Pad (x, pads)", kind="float16"))
    assert applied.reasons == ["its elements have no numbers as small"]


def by_onnxruntime_as_it_comes(model: ir.Model, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(io.to_proto(model).SerializeToString(), options)
    return np.asarray(session.run(["y"], {"x": x})[0])


def test_what_onnxruntime_makes_of_it() -> None:
    model = pooled("p = Pad (x, pads)")
    x = -np.abs(np.random.default_rng(0).standard_normal((1, 2, 6, 6), np.float32)) - 1
    want = by_reference(model, {"x": x})["y"]
    error = np.abs(by_onnxruntime_as_it_comes(model, x) - want).max()
    assert error > 0.5, "ONNX Runtime folds it right by now: the pass can go"
    PASSES.get("keep_pad")(model)
    np.testing.assert_allclose(by_onnxruntime_as_it_comes(model, x), want, atol=1e-30)

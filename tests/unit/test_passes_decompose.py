"""Operators taken apart for engines, and old forms written out, with the same results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, by_reference, graph, tag, weight

from modelport.optimization import optimize
from modelport.passes import PASSES


@pytest.mark.parametrize("takes", ["2,6,5", "2,6,4,5", "N,6,H,W"])
@pytest.mark.parametrize("opset", [18, 21])
def test_groupnorm(takes: str, opset: int) -> None:
    """Up to opset 20 there is one scale to a group."""
    count = 3 if opset < 21 else 6
    model = graph(
        "y = GroupNormalization <num_groups = 3, epsilon = 0.01> (x, s, b)",
        takes=f"float[{takes}] x",
        gives=f"float[{takes}] y",
        opset=opset,
        s=weight(count, seed=1),
        b=weight(count, seed=2),
    )
    by = [by_onnxruntime] if opset < 21 else None
    applied = apply("decompose_groupnorm", model, exact=False, by=by)
    assert "GroupNormalization" not in applied.operators
    assert "InstanceNormalization" in applied.operators


def test_groupnorm_with_computed_scale() -> None:
    model = graph(
        "y = GroupNormalization <num_groups = 2> (x, s, b)",
        takes="float[2,4,3,3] x, float[4] s, float[4] b",
        gives="float[2,4,3,3] y",
        opset=21,
    )
    applied = apply("decompose_groupnorm", tag(model, y="norm"), exact=False)
    assert applied.modified
    assert {node.metadata_props["modelport.module"] for node in model.graph} == {"norm"}


def test_groupnorm_of_other_types_is_refused() -> None:
    model = graph(
        "y = GroupNormalization <num_groups = 2> (x, s, b)",
        takes="float16[2,4,3] x, float16[4] s, float16[4] b",
        gives="float16[2,4,3] y",
        opset=21,
    )
    applied = apply("decompose_groupnorm", model, by=[])
    assert applied.reasons == ["its statistics are taken in float32, and the values are FLOAT16"]


@pytest.mark.parametrize("alpha", ["", "<alpha = 1.5>", "<alpha = -0.5>"])
def test_swish(alpha: str) -> None:
    model = graph(f"y = Swish {alpha} (x)", takes="float[2,3] x", gives="float[2,3] y", opset=24)
    applied = apply("decompose_swish", model, exact=False)
    assert applied.operators == ["Mul"] * bool(alpha) + ["Sigmoid", "Mul"]


KINDS = {"float": np.float32, "float16": np.float16, "double": np.float64}
WIDE = np.array(
    [-math.inf, -1e4, -200, -90, -40, -20, -10, -3, -1, -1e-3, 0, 1e-3, 0.5, 1, 3, 5, 6, 9, 11, 19, 21,
     60, 90, 800, 1e4, math.inf, math.nan]
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operator", ["Softplus", "Mish", "Softplus, Tanh, Mul"])
def test_softplus_and_mish_for_any_number(operator: str, kind: str) -> None:
    """No overflow, and the precision of the type at every size; half precision against float64."""
    name = "decompose_softplus" if operator == "Softplus" else "decompose_mish"
    text = "p = Softplus (x)\nt = Tanh (p)\ny = Mul (x, t)"
    text = text if "," in operator else f"y = {operator} (x)"
    model = graph(text, takes=f"{kind}[27] x", gives=f"{kind}[27] y")
    apply(name, model, exact=False, by=[by_onnxruntime] if kind == "float" else [])
    x = WIDE.astype(KINDS[kind])
    with np.errstate(all="ignore"):
        found = by_reference(model, {"x": x})["y"]
        exact = np.logaddexp(0, x.astype(np.longdouble))
        if name == "decompose_mish":
            exact = x.astype(np.longdouble) * np.tanh(exact)
        expected = exact.astype(KINDS[kind])
    assert found.dtype == KINDS[kind]
    tiny = float(np.finfo(KINDS[kind]).tiny)
    rounding = 8 * float(np.finfo(KINDS[kind]).eps)
    np.testing.assert_allclose(found, expected, rtol=rounding, atol=tiny)


def test_softplus_that_others_read_is_no_part_of_mish() -> None:
    model = graph(
        "p = Softplus (x)\nt = Tanh (p)\ny = Mul (x, t)",
        takes="float[4] x",
        gives="float[4] y, float[4] p",
    )
    applied = apply("decompose_mish", model)
    assert applied.reasons == ["something else reads the result of its Softplus too"]


def test_unknown_types_are_refused() -> None:
    model = graph(
        "a = custom.Op (x)\ny = Softplus (a)\nz = Mish (a)",
        takes="float[4] x",
        gives="float[4] y, float[4] z",
    )
    for name in ("decompose_softplus", "decompose_mish"):
        applied = apply(name, model, by=[])
        assert applied.reasons == ["the element type is not known to be float16, float32 or double"]


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (4, 5), (2, 3, 4, 5)])
def test_prelu(shape: tuple[int, ...], kind: str) -> None:
    model = graph(
        "y = PRelu (x, slope)",
        takes=f"{kind}[2,3,4,5] x",
        gives=f"{kind}[2,3,4,5] y",
        slope=weight(*shape).astype(KINDS[kind]),
    )
    # ONNX Runtime has no PRelu of doubles, only what it is taken apart into.
    applied = apply("decompose_prelu", model, by=[by_reference] if kind == "double" else None)
    assert applied.operators == ["Relu", "Min", "Mul", "Add"]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_prelu_of_one_slope(shape: tuple[int, ...]) -> None:
    model = graph(
        "y = PRelu (x, slope)",
        takes="float[2,3,4,5] x",
        gives="float[2,3,4,5] y",
        slope=np.full(shape, 0.3, np.float32),
    )
    assert apply("decompose_prelu", model).operators == ["LeakyRelu"]


def test_prelu_of_one_double_slope_is_no_attribute() -> None:
    model = graph(
        "y = PRelu (x, slope)", takes="double[4] x", gives="double[4] y", slope=np.float64(0.3)
    )
    applied = apply("decompose_prelu", model, by=[by_reference])
    assert applied.operators == ["Relu", "Min", "Mul", "Add"]


@pytest.mark.parametrize(
    ("takes", "slope", "reason"),
    [
        ("float[2,3] x, float[3] slope", None, "its slopes are computed"),
        ("float[2,3] x", np.array([1, math.inf, 0], np.float32), "a slope is not finite"),
        (
            "int32[2,3] x",
            np.array([1, 2, 3], np.int32),
            "the element type is not known to be float16, float32 or double",
        ),
    ],
)
def test_refusals_of_prelu(takes: str, slope: Any, reason: str) -> None:
    kind = takes.split("[")[0]
    weights = {} if slope is None else {"slope": slope}
    model = graph("y = PRelu (x, slope)", takes=takes, gives=f"{kind}[2,3] y", **weights)
    assert apply("decompose_prelu", model, by=[]).reasons == [reason]


def old_prelu(takes: str, slopes: int, opset: int = 9) -> ir.Model:
    return graph(
        "y = PRelu (x, slope)",
        takes=f"float[{takes}] x",
        gives=f"float[{takes}] y",
        opset=opset,
        slope=weight(slopes),
    )


@pytest.mark.parametrize("takes", ["2,3,4,5", "N,3,H,5", "2,3,5", "2,3,4,4,5"])
def test_slopes_without_axes_get_them(takes: str) -> None:
    """Before, the file runs nowhere; after, each channel has its slope."""
    model = old_prelu(takes, 3)
    assert PASSES.get("repair_prelu")(model).modified
    assert not PASSES.get("repair_prelu")(model).modified
    rank = len(takes.split(","))
    assert model.graph[0].inputs[1].shape == ir.Shape([3] + [1] * (rank - 2))
    x = weight(*(int(size) if size.isdigit() else 4 for size in takes.split(",")))
    slope = weight(3).reshape(-1, *[1] * (rank - 2))
    expected = np.where(x < 0, x * slope, x)
    np.testing.assert_array_equal(by_onnxruntime(model, {"x": x})["y"], expected)


def test_a_file_is_repaired_before_its_results_are_compared() -> None:
    optimized = optimize(old_prelu("2,3,4,5", 3))
    assert optimized.checked
    assert optimized.records[0].name == "repair_prelu"
    assert not [record for record in optimized.records if record.rejected]


def test_a_slope_that_two_read_is_given_axes_for_one() -> None:
    model = graph(
        "y = PRelu (x, slope)\nz = PRelu (v, slope)",
        takes="float[2,3,4] x, float[2,3] v",
        gives="float[2,3,4] y, float[2,3] z",
        slope=weight(3),
    )
    assert PASSES.get("repair_prelu")(model).modified
    assert [list(node.inputs[1].shape) for node in model.graph] == [[3, 1], [3]]


@pytest.mark.parametrize(
    ("takes", "slopes", "reason"),
    [
        ("2,5,4,5", 5, "one slope to a column is what the file says"),
        ("2,3,4,3", 3, "one slope to a column is what the file says"),
        ("2,3,4,W", 3, "it is not known how many channels and columns there are"),
        ("2,3,4,5", 4, "there are 4 slopes and 3 channels"),
    ],
)
def test_slopes_whose_meaning_is_not_certain_stay(takes: str, slopes: int, reason: str) -> None:
    model = old_prelu(takes, slopes)
    assert not PASSES.get("repair_prelu")(model).modified
    assert [refusal.reason for refusal in PASSES.get("repair_prelu").refusals] == [reason]


def test_slopes_of_the_oldest_opsets_stay() -> None:
    assert not PASSES.get("repair_prelu")(old_prelu("2,3,4,5", 3, opset=6)).modified


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_softmax_over_several_axes(operator: str, axis: int) -> None:
    model = graph(
        f"y = {operator} <axis = {axis}> (x)",
        takes="float[N,3,4] x",
        gives="float[N,3,4] y",
        opset=11,
    )
    applied = apply("legalize_softmax", model, by=[by_onnxruntime])
    assert applied.operators == ["Flatten", operator, "Shape", "Reshape"]


@pytest.mark.parametrize(
    ("opset", "axis", "takes"), [(11, 2, "2,3,4"), (11, -1, "2,3,4"), (11, 1, "2,3,1,1"), (13, 1, "2,3,4")]
)  # fmt: skip
def test_softmax_that_means_the_same_everywhere(opset: int, axis: int, takes: str) -> None:
    model = graph(
        f"y = Softmax <axis = {axis}> (x)",
        takes=f"float[{takes}] x",
        gives=f"float[{takes}] y",
        opset=opset,
    )
    applied = apply("legalize_softmax", model, by=[by_onnxruntime])
    assert (applied.modified, applied.refusals) == (False, [])


def test_softmax_of_unknown_rank_is_refused() -> None:
    model = graph(
        "a = custom.Op (x)\ny = Softmax (a)", takes="float[4] x", gives="float[4] y", opset=11
    )
    model.graph[0].outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    assert apply("legalize_softmax", model, by=[]).reasons == ["the rank of its input is not known"]

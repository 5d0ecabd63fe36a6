"""Stacked slices and swapped channels folded into a convolution, and where they must stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, assert_same_results, by_onnxruntime, graph, tag, weight

from modelport.feeds import random_feeds
from modelport.graph import io
from modelport.graph.query import signature_of
from modelport.passes import PASSES
from support import ROOT

MANY = np.iinfo(np.int64).max


def numbers(*values: int) -> Any:
    return np.asarray(values, np.int64)


def focus(
    phases: list[tuple[int, int]],
    conv: str = "y = Conv <pads = [1, 1, 1, 1]> (s, w, b)",
    *,
    step: int = 2,
    kernel: int = 3,
    sizes: str = "12,H",
    inputs: int = 3,
) -> ir.Model:
    """Slices of each phase in two steps, as exporters write `x[..., i::2, j::2]`."""
    lines, parts, constants = [], [], {}
    for index, (row, column) in enumerate(phases):
        lines += [
            f"r{index} = Slice (x, i{row}, many, axis2, step)",
            f"p{index} = Slice (r{index}, i{column}, many, axis3, step)",
        ]
        parts.append(f"p{index}")
        constants |= {f"i{row}": numbers(row), f"i{column}": numbers(column)}
    return graph(
        "\n".join([*lines, f"s = Concat <axis = 1> ({', '.join(parts)})", conv]),
        takes=f"float[1,{inputs},{sizes}] x",
        gives="float[1,5,A,B] y",
        many=numbers(MANY),
        axis2=numbers(2),
        axis3=numbers(-1),
        step=numbers(step),
        w=weight(5, inputs * len(phases), kernel, kernel),
        **({"b": weight(5)} if " b)" in conv else {}),
        **constants,
    )


@pytest.mark.parametrize("phases", [
    [(0, 0), (1, 0), (0, 1), (1, 1)],
    [(1, 1), (0, 0), (0, 1), (1, 0)],
])  # fmt: skip
@pytest.mark.parametrize("conv", [
    "y = Conv <pads = [1, 1, 1, 1]> (s, w, b)",
    "y = Conv <pads = [0, 2, 1, 0], strides = [1, 2]> (s, w)",
    'y = Conv <auto_pad = "SAME_UPPER"> (s, w)',
    'y = Conv <auto_pad = "VALID"> (s, w)',
])  # fmt: skip
def test_focus(conv: str, phases: list[tuple[int, int]]) -> None:
    model = tag(focus(phases, conv, sizes="12,10"), s="focus", y="focus.conv")
    applied = apply("fold_focus", model, exact=False)
    assert applied.operators == ["Conv"]
    (node,) = model.graph
    assert node.inputs[1].name == "w"
    assert list(node.inputs[1].shape) == [5, 3, 6, 6]
    assert node.metadata_props["modelport.module"] == "focus.conv"
    assert node.metadata_props["modelport.merged"] == "focus"


def test_free_sizes_and_another_factor() -> None:
    phases = [(row, column) for row in range(3) for column in range(3)]
    model = focus(phases, step=3, kernel=2, sizes="12,9", conv="y = Conv (s, w)")
    assert apply("fold_focus", model, exact=False).operators == ["Conv"]


@pytest.mark.parametrize("phases", [
    [(0, 0), (1, 0), (0, 1)],
    [(0, 0), (1, 0), (0, 1), (0, 1)],
])  # fmt: skip
def test_elements_that_are_missing_or_double_stay(phases: list[tuple[int, int]]) -> None:
    """The kernel would grow by zeros, or meet elements twice."""
    assert not apply("fold_focus", focus(phases, sizes="12,10")).modified


def test_a_dilation_is_refused() -> None:
    phases = [(0, 0), (1, 0), (0, 1), (1, 1)]
    model = focus(phases, "y = Conv <dilations = [1, 2]> (s, w)", sizes="12,10")
    assert apply("fold_focus", model).reasons == ["Conv has a dilation"]


def test_another_reader_of_the_slices() -> None:
    model = focus([(0, 0), (1, 0), (0, 1), (1, 1)], "y = Conv (s, w)\nz = Relu (s)", sizes="4,4")
    model.graph.outputs.append(model.graph[-1].outputs[0])
    model.graph.outputs[1].dtype = ir.DataType.FLOAT
    model.graph.outputs[1].shape = ir.Shape([1, 12, 2, 2])
    model.graph.initializers["w"].const_value = ir.tensor(weight(5, 12, 2, 2), name="w")
    model.graph.initializers["w"].shape = ir.Shape([5, 12, 2, 2])
    reasons = apply("fold_focus", model).reasons
    assert reasons == ["something else reads the stacked channels too"]


def test_space_to_depth() -> None:
    model = graph(
        "s = SpaceToDepth <blocksize = 2> (x)\ny = Conv <pads = [1, 1, 1, 1]> (s, w)",
        takes="float[1,3,8,6] x",
        gives="float[1,5,A,B] y",
        w=weight(5, 12, 3, 3),
    )
    # onnx's reference has another order of channels than the specification says
    applied = apply("fold_focus", model, exact=False, by=[by_onnxruntime])
    assert applied.operators == ["Conv"]


@pytest.mark.parametrize("order", [[0, 1, 3, 5, 2, 4], [0, 3, 5, 1, 2, 4], [0, 5, 1, 3, 2, 4]])
def test_pixel_unshuffle(order: list[int]) -> None:
    model = graph(
        f"""
        r = Reshape (x, split)
        t = Transpose <perm = {order}> (r)
        s = Reshape (t, stacked)
        y = Conv <strides = [2, 1]> (s, w)
        """,
        takes="float[2,3,8,6] x",
        gives="float[2,5,A,B] y",
        split=numbers(2, 3, 4, 2, 2, 3),
        stacked=numbers(2, 18, 4, 2),
        w=weight(5, 18, 2, 1),
    )
    PASSES.get("infer_shapes")(model)
    assert apply("fold_focus", model, exact=False).operators == ["Conv"]


def test_reshapes_that_mix_axes_stay() -> None:
    model = graph(
        """
        r = Reshape (x, split)
        t = Transpose <perm = [0, 1, 3, 5, 2, 4]> (r)
        s = Reshape (t, stacked)
        y = Conv (s, w)
        """,
        takes="float[1,3,6,8] x",
        gives="float[1,5,A,B] y",
        split=numbers(1, 3, 4, 2, 3, 2),
        stacked=numbers(1, 12, 4, 3),
        w=weight(5, 12, 1, 1),
    )
    PASSES.get("infer_shapes")(model)
    assert not apply("fold_focus", model).modified


SWAPS = {
    "gather": ("s = Gather <axis = 1> (x, order)", {"order": numbers(2, 1, 0)}),
    "slice": (
        "s = Slice (x, start, end, axis, step)",
        {"start": numbers(-1), "end": numbers(-MANY), "axis": numbers(1), "step": numbers(-1)},
    ),
    "split": (
        "r, g, b = Split <axis = 1> (x, sizes)\ns = Concat <axis = 1> (b, g, r)",
        {"sizes": numbers(1, 1, 1)},
    ),
    "equal split": (
        "r, g, b = Split <axis = -3, num_outputs = 3> (x)\ns = Concat <axis = -3> (b, r, g)",
        {},
    ),
    "gathers": (
        "a = Gather <axis = 1> (x, last)\nb = Gather <axis = 1> (x, first)\n"
        "s = Concat <axis = 1> (a, b)",
        {"last": numbers(2), "first": numbers(0, 1)},
    ),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_channel_swap(swap: str) -> None:
    lines, constants = SWAPS[swap]
    model = graph(
        f"{lines}\ny = Conv <pads = [1, 1, 1, 1], dilations = [2, 2]> (s, w)",
        takes="float[N,3,7,6] x",
        gives="float[N,5,A,B] y",
        w=weight(5, 3, 3, 3),
        **constants,
    )
    applied = apply("fold_focus", model, exact=False)
    assert applied.operators == ["Conv"]


def test_preprocessing_folds_whole() -> None:
    """uint8 BGR, channels last, to a normalised picture: the Cast and the Transpose stay."""
    model = graph(
        """
        f = Cast <to = 1> (x)
        t = Transpose <perm = [0, 3, 1, 2]> (f)
        g = Gather <axis = 1> (t, order)
        m = Sub (g, mean)
        n = Div (m, std)
        y = Conv <strides = [2, 2]> (n, w, b)
        """,
        takes="uint8[1,8,8,3] x",
        gives="float[1,5,A,B] y",
        order=numbers(2, 1, 0),
        mean=weight(3, 1, 1),
        std=np.asarray([50, 60, 70], np.float32).reshape(3, 1, 1),
        w=weight(5, 3, 3, 3),
        b=weight(5),
    )
    before = model.clone()
    for name in ("infer_shapes", "fold_batchnorm_forward", "fold_focus"):
        PASSES.get(name)(model)
    assert [node.op_type for node in model.graph] == ["Cast", "Transpose", "Conv"]
    assert_same_results(before, model)


def test_groups_are_refused() -> None:
    model = graph(
        "s = Gather <axis = 1> (x, order)\ny = Conv <group = 3> (s, w)",
        takes="float[1,3,7,6] x",
        gives="float[1,3,A,B] y",
        w=weight(3, 1, 3, 3),
        order=numbers(2, 1, 0),
    )
    assert apply("fold_focus", model).reasons == ["Conv has groups"]


def test_channels_that_are_left_out_stay() -> None:
    model = graph(
        "s = Gather <axis = 1> (x, order)\ny = Conv (s, w)",
        takes="float[1,3,7,6] x",
        gives="float[1,4,A,B] y",
        w=weight(4, 2, 3, 3),
        order=numbers(1, 0),
    )
    assert not apply("fold_focus", model).modified


def test_yolox() -> None:
    path = ROOT.parent / "shared" / "data" / "models" / "yolox_nano.onnx"
    if not path.is_file():
        pytest.skip(f"yolox_nano.onnx is not at {path}")
    model = io.load(path)
    before = model.clone()
    PASSES.get("lift_constants")(model)
    PASSES.get("infer_shapes")(model)
    assert PASSES.get("fold_focus")(model).modified
    PASSES.get("remove_unused")(model)
    assert model.graph[0].op_type == "Conv"
    assert len(model.graph) == len(before.graph) - 9
    feeds = random_feeds(signature_of(before), 1)
    (expected,) = by_onnxruntime(before, feeds).values()
    (found,) = by_onnxruntime(model, feeds).values()
    # Sixty layers make more of the first one's rounding.
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()

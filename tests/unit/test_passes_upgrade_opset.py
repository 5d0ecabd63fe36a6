"""Models of old opsets mean the same in the new one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, tag, weight
from onnx import defs  # noqa: TID251  (the registry of operators)
from sized import apply_at

from modelport.passes import PASSES
from modelport.passes.upgrade_forms import FORMS, HARMLESS
from modelport.passes.upgrade_opset import OLDEST, TARGET

WEIGHTS: dict[str, Any] = {
    "w": weight(3, 4, 6),
    "scales": np.asarray([1, 1, 2, 3], np.float32),
    "shrinking": np.asarray([1, 1, 0.5, 1], np.float32),
    "k": np.asarray([2], np.int64),
    "norm": np.asarray([0.5, 1, 2, 3], np.float32),
    "index": np.asarray([[[0], [2]]], np.int64),
    "update": weight(1, 2, 1),
    "rois": np.asarray([[0, 0, 3, 3], [1, 0, 4, 2]], np.float32),
    "batch": np.asarray([0, 0], np.int64),
    "sizes": np.asarray([1, 3, 9, 5], np.int64),
    "empty": np.zeros(0, np.float32),
}


def old(body: str, opset: int, *, takes: str = "float[N,4,6] x", gives: str = "A,B,C") -> ir.Model:
    used = {name: array for name, array in WEIGHTS.items() if name in body}
    model = graph(body, takes=takes, gives=f"float[{gives}] y" if gives else "float y",
                  opset=opset, ir_version=4, **used)  # fmt: skip
    PASSES.get("infer_shapes")(model)
    return model


@pytest.mark.parametrize(
    ("body", "opsets"),
    [
        ("y = Softmax (x)", (7, 11, 12)),
        ("y = Softmax <axis = 2> (x)", (8, 12)),
        ("y = Softmax <axis = -2> (x)", (11, 12)),
        ("y = LogSoftmax <axis = 0> (x)", (7, 12)),
        ("y = Hardmax (x)", (9, 12)),
        ("a = Unsqueeze <axes = [3]> (x)\nb = Softmax <axis = 2> (a)\ny = Squeeze <axes = [3]> (b)",
         (8, 12)),
        ("y = ReduceSum <axes = [1], keepdims = 1> (x)", (7, 12)),
        ("y = ReduceSum (x)", (7, 12)),
        ("y = ReduceMean <axes = [-1]> (x)", (11, 17)),
        ("y = ReduceL2 <axes = [1, 2]> (x)", (7, 13, 17)),
        ("y = Clip <min = -0.5, max = 0.5> (x)", (7, 10)),
        ("y = Clip <max = 0.25> (x)", (10,)),
        ("y = Pad <pads = [0, 1, 0, 0, 2, 3], value = 1.5> (x)", (7, 10)),
        ('y = Pad <pads = [0, 1, 0, 0, 2, 3], mode = "reflect"> (x)', (10,)),
        ("y = Slice <starts = [1, -3], ends = [3, 100], axes = [1, 2]> (x)", (7, 9)),
        ("y = Slice <starts = [0, 1], ends = [9, -1]> (x)", (9,)),
        ("a, b = Split <axis = 1, split = [1, 3]> (x)\ny = Concat <axis = 1> (b, a)", (7, 12)),
        ("a, b = Split <axis = 1> (x)\ny = Sub (a, b)", (7, 13, 17)),
        ("y, i = TopK <k = 2, axis = 1> (x)", (7, 9)),
        ("y, i = TopK <axis = 1> (x, k)", (10,)),
        ("a = Dropout <ratio = 0.3> (x)\ny = Neg (a)", (7, 11)),
        ("a, mask = Dropout <ratio = 0.3> (x)\ny = Neg (a)", (7, 11)),
        ("y = BatchNormalization (x, norm, norm, norm, norm)", (7, 8, 9, 13)),
        ("y = BatchNormalization <spatial = 1> (x, norm, norm, norm, norm)", (8,)),
        ("y = Scatter <axis = 1> (x, index, update)", (9, 10)),
        ("y = AveragePool <kernel_shape = [2], ceil_mode = 1> (x)", (10, 18)),
        ("y = MaxPool <kernel_shape = [2]> (x)", (7, 10)),
        ("y = Gemm (x2, x2, x2)".replace("x2", "r"), (7, 9)),
    ],
)  # fmt: skip
def test_means_the_same(body: str, opsets: tuple[int, ...]) -> None:
    for opset in opsets:
        scatter = "Scatter" in body
        rank2 = body.endswith("(r, r, r)")
        takes = "float[1,4,6] x" if scatter else "float[4,4] r" if rank2 else "float[N,4,6] x"
        model = old(body, opset, takes=takes, gives="A,B" if rank2 else "A,B,C")
        others = [] if scatter or rank2 else [{"N": 3}]
        applied = apply_at("upgrade_opset", tag(model, y="head"), *others, by=[by_onnxruntime])
        assert applied.modified
        assert applied.refusals == []
        assert model.opset_imports[""] == TARGET
        assert all(node.metadata_props or node.outputs[0].name != "y" for node in model.graph)


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        ("y = Upsample <scales = [1.0, 1.0, 2.0, 3.0]> (p)", 7),
        ('y = Upsample <scales = [1.0, 1.0, 2.0, 3.0], mode = "linear"> (p)', 8),
        ("y = Upsample (p, scales)", 9),
        ('y = Upsample <mode = "linear"> (p, scales)', 9),
        ("y = Resize (p, scales)", 10),
        ('y = Resize <mode = "linear"> (p, scales)', 10),
        ('y = Resize <mode = "linear"> (p, shrinking)', 10),
        ('y = Resize <mode = "cubic"> (p, empty, scales)', 11),
        ('y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> '
         "(p, empty, empty, sizes)", 12),
        ("y = RoiAlign <output_height = 2, output_width = 2> (p, rois, batch)", 10),
        ("y = RoiAlign <output_height = 2, output_width = 2> (p, rois, batch)", 15),
        ('y = GridSample <mode = "bicubic"> (p, q)', 16),
        ("y = GridSample (p, q)", 16),
    ],
)  # fmt: skip
def test_pictures(body: str, opset: int) -> None:
    takes = "float[1,3,4,5] p" + (", float[1,2,2,2] q" if "q)" in body else "")
    model = old(body, opset, takes=takes, gives="A,B,C,D")
    assert apply("upgrade_opset", model, exact=False, by=[by_onnxruntime]).modified


@pytest.mark.parametrize(
    ("body", "opset", "reason"),
    [
        ("y = Resize (p, shrinking)", 10,
         "Resize: opset 10 does not say which pixel is nearest where it shrinks"),
        ('y = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn"> (p, empty, scales)', 11,
         "Resize: opset 13 has no tf_half_pixel_for_nn"),
        ("y = BatchNormalization <spatial = 0> (p, s, s, s, s)", 8,
         "BatchNormalization: it has statistics for each position"),
        ("a, m = Dropout (p)\nz = Cast <to = 1> (m)\ny = Add (a, z)", 7,
         "Dropout: its mask is read, which has become bool"),
        ("y = AveragePool <kernel_shape = [2, 2], ceil_mode = 1, count_include_pad = 1> (p)", 11,
         "AveragePool: opset 19 counts the padding of ceil_mode in another way"),
        ("y = Relu (p)", 6, f"it is of opset 6, older than {OLDEST}"),
    ],
)  # fmt: skip
def test_refusals(body: str, opset: int, reason: str) -> None:
    body += "\nsqueezed = Squeeze <axes = [0]> (p)"
    model = old(body, opset, takes="float[1,3,4,5] p, float[3,4,5] s", gives="A,B,C,D")
    applied = apply("upgrade_opset", model, by=[])
    assert not applied.modified, "one node that cannot be written anew leaves all as they are"
    assert applied.reasons == [reason]


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_bounds_have_the_element_type(dtype: str) -> None:
    model = graph("y = Clip <min = -0.5, max = 0.5> (x)", takes=f"{dtype}[3] x",
                  gives=f"{dtype}[3] y", opset=10)  # fmt: skip
    by = [by_onnxruntime] if dtype == "float16" else []  # it has no old Clip of doubles
    assert apply("upgrade_opset", model, by=by).modified
    clip = model.graph[0]
    assert [str(value.dtype).lower() for value in clip.inputs if value] == [dtype] * 3


def test_a_clip_of_unknown_type() -> None:
    model = graph("m = custom.Mystery (x)\ny = Clip <min = 0.0> (m)", takes="float[2] x",
                  gives="float[2] y", opset=10)  # fmt: skip
    assert apply("upgrade_opset", model, by=[]).reasons == ["Clip: its element type is not known"]


def test_a_branch_is_upgraded_too() -> None:
    model = graph(
        """
        y = If (on) <then_branch = inner () => (float[2,3] p) { p = Softmax <axis = 0> (x) },
                     else_branch = other () => (float[2,3] q) { q = Clip <min = 0.0> (x) }>
        """,
        takes="float[2,3] x, bool on",
        gives="float[2,3] y",
        opset=10,
    )
    PASSES.get("infer_shapes")(model)
    assert apply("upgrade_opset", model, by=[by_onnxruntime]).modified


def test_functions_go_along_where_they_mean_the_same() -> None:
    for body, rank, modified in (
        ("b = Relu (a)", 2, True),
        ("b = Squeeze <axes = [0]> (a)", 1, False),
    ):
        sizes = ",".join("AB"[:rank])
        model = graph("y = custom.Own (x)", takes="float[1,2] x", gives=f"float[{sizes}] y",
                      opset=12)  # fmt: skip
        inner = graph(body, takes="float[1,2] a", gives=f"float[{sizes}] b", opset=12).graph
        function = ir.Function("custom", "Own", graph=inner, attributes=[])
        model.functions[function.identifier()] = function
        assert apply("upgrade_opset", model, by=[]).modified == modified
        assert function.opset_imports[""] == (TARGET if modified else 12)


def test_new_models_stay() -> None:
    model = graph("y = Relu (x)", takes="float[2] x", gives="float[2] y", opset=21)
    assert not apply("upgrade_opset", model).modified


def test_every_operator_that_changed_is_known() -> None:
    """Compares our list with onnx's registry: inputs, outputs and attributes of each version."""
    versions: dict[str, list[Any]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= TARGET:
            versions.setdefault(schema.name, []).append(schema)
    for name, schemas in versions.items():
        schemas.sort(key=lambda schema: schema.since_version)
        for one, two in itertools.pairwise(schemas):
            if two.since_version > OLDEST and (two.deprecated or _form(one) != _form(two)):
                assert name in HARMLESS or name in FORMS, f"{name} changed in {two.since_version}"
                needs = [value.name for value in two.inputs[len(one.inputs) :]]
                lost = set(one.attributes) - set(two.attributes)
                if lost or (needs and name not in ("Resize", "Pad")):
                    assert name in FORMS
                    assert FORMS[name].since >= two.since_version


def _form(schema: Any) -> tuple[object, ...]:
    return (
        [(value.name, value.option) for value in schema.inputs],
        [(value.name, value.option) for value in schema.outputs],
        {name: str(attribute.default_value) for name, attribute in schema.attributes.items()
         if name != "saturate"},
    )  # fmt: skip

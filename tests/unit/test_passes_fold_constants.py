"""What is computed at build time, and what must not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, by_reference, graph, tag, weight

from modelport.passes.fold_constants import GROWTH_LIMIT_BYTES

CONV_BIAS = """
    zero = Constant <value = int64 {0}> ()
    like = CastLike (zero, w)
    size = Shape <start = 0, end = 1> (w)
    bias = Expand (like, size)
    y = Conv (x, w, bias)
"""


def test_bias_that_exporters_hide() -> None:
    model = graph(
        CONV_BIAS, takes="float[1,2,3,3] x", gives="float[1,4,A,B] y", w=weight(4, 2, 1, 1)
    )
    applied = apply("fold_constants", tag(model, y="stem.conv"))
    assert applied.operators == ["Constant", "Conv"]
    bias = applied.constant("bias")
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, np.zeros(4))
    assert model.graph[-1].metadata_props["modelport.module"] == "stem.conv"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", [2, 3, 5, 7]),
        ("<start = 1>", [3, 5, 7]),
        ("<end = 2>", [2, 3]),
        ("<start = 1, end = 3>", [3, 5]),
        ("<start = -2>", [5, 7]),
        ("<end = -1>", [2, 3, 5]),
        ("<start = -3, end = -1>", [3, 5]),
        ("<start = -99, end = 99>", [2, 3, 5, 7]),
        ("<start = 3, end = 1>", []),
        ("<start = 9>", []),
    ],
)
def test_shape_of_what_is_not_constant(attributes: str, expected: list[int]) -> None:
    model = graph(
        f"s = Shape {attributes} (x)\ny = Cast <to = 1> (s)",
        takes="float[2,3,5,7] x",
        gives="float[N] y",
    )
    before = model.clone()
    feeds = {"x": np.zeros((2, 3, 5, 7), np.float32)}
    (reference,) = by_reference(before, feeds).values()
    assert reference.tolist() == expected
    applied = apply("fold_constants", model)
    assert applied.constant("s").tolist() == expected
    assert applied.constant("s").dtype == np.int64


def test_size_of_what_is_not_constant() -> None:
    model = graph(
        "n = Size (x)\nf = Cast <to = 1> (n)\ny = Div (x, f)",
        takes="float[2,3] x",
        gives="float[2,3] y",
    )
    applied = apply("fold_constants", model)
    assert applied.operators == ["Div"]
    assert applied.constant("f") == np.float32(6)


@pytest.mark.parametrize("operator", ["Shape", "Size"])
def test_free_sizes_stay(operator: str) -> None:
    model = graph(
        f"s = {operator} (x)\ny = Cast <to = 1> (s)",
        takes="float[N,3] x",
        gives="float[M] y" if operator == "Shape" else "float y",
    )
    assert not apply("fold_constants", model).modified


def test_part_of_a_free_shape_stays_where_it_is_not_known() -> None:
    model = graph(
        "s = Shape <start = 1> (x)\ny = Cast <to = 1> (s)", takes="float[N,3] x", gives="float[1] y"
    )
    assert "Cast" in apply("fold_constants", model).operators


@pytest.mark.parametrize(
    ("axis", "places"),
    [(1, [[3, 0, -1]]), (0, [[1, 0], [0, -1], [1, 1]]), (1, [[3, 0, -1, 2, 2], [0, 0, 1, 1, -4]])],
)
def test_elements_of_fewer_rows_or_columns(axis: int, places: list[list[int]]) -> None:
    """PyTorch gathers so from buffers that are longer than the text."""
    table = np.arange(8, dtype=np.float32).reshape(2, 4)
    model = graph(
        f"g = GatherElements<axis = {axis}>(table, places)\ny = Add(x, g)",
        takes="float x", gives="float[A,B] y", table=table, places=np.asarray(places),
    )  # fmt: skip
    applied = apply("fold_constants", model, by=[by_onnxruntime])
    assert [node.op_type for node in applied.model.graph] == ["Add"]


def test_cast_like_needs_only_the_type() -> None:
    model = graph(
        "a = CastLike (x, like)\ny = Relu (a)",
        takes="double[2,3] x, float[N] like",
        gives="float[2,3] y",
    )
    applied = apply("fold_constants", model)
    assert applied.modified
    assert applied.operators == ["Cast", "Relu"]
    (cast, _) = model.graph
    assert len(cast.inputs) == 1
    assert cast.attributes["to"].value == ir.DataType.FLOAT


def test_cast_like_keeps_its_saturation() -> None:
    model = graph(
        "a = CastLike <saturate = 0> (x, like)\ny = Cast <to = 1> (a)",
        takes="float[4] x, float8e4m3fn[1] like",
        gives="float[4] y",
    )
    apply("fold_constants", model, by=[])
    assert model.graph[0].op_type == "Cast"
    assert model.graph[0].attributes["saturate"].value == 0


def test_cast_like_of_unknown_type_stays() -> None:
    model = graph(
        "t = custom.Mystery (x)\na = CastLike (x, t)\ny = custom.Mystery (a)",
        takes="float[2] x",
        gives="float[2] y",
    )
    assert not apply("fold_constants", model, by=[]).modified


LARGEST = (GROWTH_LIMIT_BYTES + 12) // 4
"""Elements of a float constant that an Expand may make of a float and an int64."""


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1])
def test_growth_limit(size: int) -> None:
    model = graph(
        "e = Expand (one, size)\ny = Add (x, e)",
        takes=f"float[{size}] x",
        gives=f"float[{size}] y",
        one=np.ones(1, np.float32),
        size=np.asarray([size], np.int64),
    )
    applied = apply("fold_constants", model)
    if size > LARGEST:
        grown = size * 4 - 12
        assert applied.reasons == [
            f"the constant would add {grown} bytes, more than {GROWTH_LIMIT_BYTES}"
        ]
        assert applied.operators == ["Expand", "Add"]
    else:
        assert applied.operators == ["Add"]


@pytest.mark.parametrize(
    "node",
    [
        "r = RandomNormal <shape = [3]> ()",
        "r = RandomUniform <shape = [3]> ()",
        "r = RandomNormalLike (c)",
        "r = RandomUniformLike (c)",
        "r = Bernoulli (c)",
        "r = Dropout (c, ratio, training)",
    ],
)
def test_random_operators_are_not_frozen(node: str) -> None:
    model = graph(
        f"{node}\ny = Add (x, r)",
        takes="float[3] x",
        gives="float[3] y",
        c=np.full(3, 0.5, np.float32),
        ratio=np.float32(0.5),
        training=np.asarray(True),
    )
    assert not apply("fold_constants", model, by=[]).modified


def test_quantized_weights_stay_quantized() -> None:
    model = graph(
        "w = DequantizeLinear (q, s, z)\nv = QuantizeLinear (f, s, z)\n"
        "u = DequantizeLinear (v, s, z)\na = Mul (x, w)\ny = Add (a, u)",
        takes="float[2,3] x",
        gives="float[2,3] y",
        q=np.asarray([[1, -2, 3], [4, 5, -6]], np.int8),
        f=weight(2, 3),
        s=np.float32(0.1),
        z=np.int8(0),
    )
    assert not apply("fold_constants", model).modified


BRANCHES = """
    y = If (flag) <
        then_branch = yes () => (float[2] a) {
            two = Constant <value_floats = [2.0, 3.0]> ()
            four = Mul (two, outer)
            a = Mul (x, four)
        },
        else_branch = no () => (float[2] b) {
            three = Constant <value_floats = [3.0, 4.0]> ()
            b = Neg (three)
        }
    >
"""


def test_bodies_of_branches() -> None:
    model = graph(
        BRANCHES,
        takes="float[2] x, bool flag",
        gives="float[2] y",
        outer=np.asarray([0.5, 0.25], np.float32),
    )
    assert apply("fold_constants", model).modified
    (branch,) = model.graph
    yes, no = (branch.attributes[name].as_graph() for name in ("then_branch", "else_branch"))
    assert [node.op_type for node in yes] == ["Constant", "Mul"]
    assert [value.name for value in yes.outputs] == ["a"]
    # The result of a branch is its output, which stays a node's: a weight is no output of a graph.
    assert [node.op_type for node in no] == ["Constant", "Neg"]


@pytest.mark.parametrize("flag", [True, False])
def test_both_branches_give_the_same_after(flag: bool) -> None:
    outer = np.asarray([0.5, 0.25], np.float32)
    model = graph(BRANCHES, takes="float[2] x, bool flag", gives="float[2] y", outer=outer)
    feeds = {"x": weight(2), "flag": np.asarray(flag)}
    before = by_onnxruntime(model, feeds)["y"]
    apply("fold_constants", model)
    np.testing.assert_array_equal(by_onnxruntime(model, feeds)["y"], before)


def test_constants_that_are_outputs_stay_nodes() -> None:
    model = graph(
        "n = Neg (c)\ny = Add (x, n)\ns = Shape (x)",
        takes="float[2] x",
        gives="float[2] y, float[2] n, int64[1] s",
        c=weight(2),
    )
    applied = apply("fold_constants", model)
    assert not applied.modified
    assert applied.operators == ["Neg", "Add", "Shape"]


def test_nodes_with_several_results() -> None:
    model = graph(
        "p, q = Split <axis = 0, num_outputs = 2> (c)\na = Add (x, p)\ny = Mul (a, q)",
        takes="float[2] x",
        gives="float[2] y",
        c=weight(4),
    )
    applied = apply("fold_constants", model)
    assert applied.operators == ["Add", "Mul"]
    np.testing.assert_array_equal(applied.constant("q"), weight(4)[2:])


@pytest.mark.parametrize(
    "node", ["r, unused = TopK (c, k)", "r, , , n = Unique (c)", "r, , i = Unique (c)"]
)
def test_results_left_out(node: str) -> None:
    """An unused result has no name, and a weight without a name would be none."""
    model = graph(
        f"{node}\nf = Cast <to = 1> (r)\ns = ReduceSum <keepdims = 0> (f)\ny = Add (x, s)",
        takes="float[2] x",
        gives="float[2] y",
        c=weight(4),
        k=np.asarray([3], np.int64),
    )
    applied = apply("fold_constants", model)
    assert applied.operators == ["Add"]
    assert all(model.graph.initializers)


def test_sequences_are_not_made_tensors() -> None:
    model = graph(
        "q = SequenceConstruct (c, c)\np = SequenceAt (q, i)\ny = Add (x, p)",
        takes="float[2] x",
        gives="float[2] y",
        c=weight(2),
        i=np.asarray(1, np.int64),
    )
    applied = apply("fold_constants", model)
    assert applied.operators == ["SequenceConstruct", "SequenceAt", "Add"]
    assert applied.reasons == ["the result is not a tensor of numbers"]


def test_optionals_are_not_made_tensors() -> None:
    model = graph(
        "o = Optional (c)\np = OptionalGetElement (o)\ny = Add (x, p)",
        takes="float[2] x",
        gives="float[2] y",
        c=weight(2),
    )
    applied = apply("fold_constants", model, by=[by_onnxruntime])  # the reference has lists here
    assert applied.operators == ["Optional", "OptionalGetElement", "Add"]


def test_strings() -> None:
    """They have no place among the weights, and numpy's own strings none among tensors."""
    model = graph(
        """
        s = Constant <value_strings = ["one", "two"]> ()
        n = Reshape (s, shape)
        t = StringConcat (n, n)
        e = Equal (t, t)
        f = Cast <to = 1> (e)
        y = Mul (x, f)
        """,
        takes="float[2,1] x",
        gives="float[2,1] y",
        shape=np.asarray([2, 1], np.int64),
    )
    applied = apply("fold_constants", model)
    assert applied.operators == ["Constant", "Reshape", "StringConcat", "Equal", "Cast", "Mul"]
    assert applied.reasons == ["the result is not a tensor of numbers"]


def test_numbers_from_strings() -> None:
    model = graph(
        's = Constant <value_strings = ["1.5", "-2"]> ()\nf = Cast <to = 1> (s)\ny = Mul (x, f)',
        takes="float[2] x",
        gives="float[2] y",
    )
    apply("fold_constants", model)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10, ir.DataType.FLOAT16),
        (16, ir.DataType.BFLOAT16),
        (17, ir.DataType.FLOAT8E4M3FN),
        (19, ir.DataType.FLOAT8E5M2),
        (11, ir.DataType.DOUBLE),
        (9, ir.DataType.BOOL),
        (2, ir.DataType.UINT8),
        (3, ir.DataType.INT8),
    ],
)
def test_element_types_survive(code: int, kind: ir.DataType) -> None:
    model = graph(
        f"n = Cast <to = {code}> (c)\nf = Cast <to = 1> (n)\nr = Reshape (n, shape)\n"
        "y = Add (x, f)\nz = Identity (r)",
        takes="float[3] x",
        gives=f"float[3] y, {kind.name.lower()}[1,3] z",
        c=np.asarray([0.0, 1.0, 3.0], np.float32),
        shape=np.asarray([1, 3], np.int64),
    )
    plain = kind.name in ("FLOAT16", "DOUBLE", "BOOL", "UINT8", "INT8")
    applied = apply("fold_constants", model, by=None if plain else [])
    assert applied.operators == ["Add", "Identity"]
    assert model.graph[-1].inputs[0].dtype == kind
    np.testing.assert_array_equal(
        applied.constant("f"), [0, 1, 1 if kind == ir.DataType.BOOL else 3]
    )


FLOAT_NODES = [
    "Neg (c)", "Abs (c)", "Sqrt (p)", "Reciprocal (p)", "Exp (c)", "Erf (c)", "Add (c, p)",
    "Sub (c, p)", "Mul (c, p)", "Div (c, p)", "Pow (p, i)", "Pow (p, c)", "Min (c, p)", "Max (c, p)",
    "Mod <fmod = 1> (c, p)", "MatMul (c, m)", "Gemm (c, m)", "Transpose <perm = [1, 0]> (c)",
    "Reshape (c, six)", "Concat <axis = 1> (c, p)", "Gather (c, one)", "Slice (c, one, two)",
    "Unsqueeze (c, one)", "Squeeze (c)", "Flatten (c)", "ReduceMean (c)", "ReduceSum (c)",
    "ReduceMax (c)", "ReduceL2 (c)", "Softmax (c)", "LogSoftmax (c)", "Clip (c, lo, hi)",
    "Where (b, c, p)", "Tile (c, tw)", "Pad (c, pads)", "Cast <to = 1> (i)", "Floor (c)", "Round (c)",
    "Range (lo, hi, st)", "ConstantOfShape (six)", "Relu (c)", "Sigmoid (c)", "Tanh (c)",
    "HardSigmoid (c)", "LeakyRelu (c)", "CumSum (c, ax)", "LayerNormalization (c, sc)", "Sign (c)",
    "Expand (sc, six)", "Trilu (c)", "Einsum <equation = \"ij,kj->ik\"> (c, p)", "IsNaN (c)",
    "NonZero (c)", "ArgMax (c)", "Not (b)", "Greater (c, p)", "Shape (c)", "EyeLike (c)",
    "ReduceProd (c)", "Mean (c, p)", "Sum (c, p)", "DepthToSpace <blocksize = 1> (d)",
    "GlobalAveragePool (d)", "MaxPool <kernel_shape = [2, 2]> (d)", "Resize (d, , sca)",
    "OneHot (one, ax, lohi)", "ScatterND (c, sidx, supd)", "GatherElements (c, gidx)",
]  # fmt: skip


@pytest.mark.parametrize("node", FLOAT_NODES)
def test_constants_have_the_type_and_shape_that_onnx_infers(node: str) -> None:
    """The reference computes in numpy, whose promotions are not ONNX's."""
    integer = np.int64
    model = graph(
        f"r = {node}\nf = Cast <to = 1> (r)\ns = ReduceSum <keepdims = 0> (f)\ny = Add (x, s)",
        takes="float[2] x",
        gives="float[2] y",
        c=weight(2, 3),
        p=np.abs(weight(2, 3, seed=1)) + 0.5,
        m=weight(3, 2),
        i=np.asarray([[1, 2, 3], [0, 1, 2]], integer),
        b=np.asarray([[True, False, True]] * 2),
        d=weight(1, 1, 2, 2),
        one=np.asarray([1], integer),
        two=np.asarray([2], integer),
        six=np.asarray([2, 3], integer),
        tw=np.asarray([2, 1], integer),
        pads=np.asarray([0, 1, 1, 0], integer),
        ax=np.asarray(1, integer),
        lo=np.float32(-0.5),
        hi=np.float32(0.5),
        st=np.float32(0.25),
        sc=np.asarray([1.0, 2.0, 3.0], np.float32),
        sca=np.asarray([1, 1, 2, 2], np.float32),
        lohi=np.asarray([0.5, 2.0], np.float32),
        sidx=np.asarray([[1]], integer),
        supd=weight(1, 3),
        gidx=np.asarray([[1, 0, 1]], integer),
    )
    apply("infer_shapes", model)
    (result,) = model.graph[0].outputs[:1]
    expected_type, expected_shape = result.dtype, result.shape
    applied = apply("fold_constants", model, exact=False)
    assert applied.operators == ["Add"], applied.reasons
    found = applied.constant("r")
    assert expected_type is not None
    assert found.dtype == expected_type.numpy()
    if expected_shape is not None and expected_shape.is_static():
        assert found.shape == tuple(expected_shape)


def test_operators_of_other_domains_stay() -> None:
    model = graph("n = custom.Neg (c)\ny = Add (x, n)", takes="float[2] x", gives="float[2] y",
                  c=weight(2))  # fmt: skip
    assert not apply("fold_constants", model, by=[]).modified


def test_what_the_reference_lacks_is_refused_with_its_words() -> None:
    model = graph(
        "n = Gather (c, far)\ny = Add (x, n)",
        takes="float[1] x",
        gives="float[1] y",
        c=weight(2),
        far=np.asarray([7], np.int64),
    )
    applied = apply("fold_constants", model, by=[])
    assert not applied.modified
    (reason,) = applied.reasons
    assert reason.startswith("Gather cannot be evaluated: ")


def test_weights_that_are_inputs_are_no_constants() -> None:
    model = graph("n = Neg (c)\ny = Add (x, n)", takes="float[2] x, float[2] c",
                  gives="float[2] y", c=weight(2))  # fmt: skip
    assert not apply("fold_constants", model).modified


def test_a_pass_may_be_used_again() -> None:
    """Members of the registry are single instances: nothing of one run may reach the next."""
    refused = graph("n = Gather (c, far)\ny = Add (x, n)", takes="float[1] x", gives="float[1] y",
                    c=weight(2), far=np.asarray([7], np.int64))  # fmt: skip
    assert apply("fold_constants", refused, by=[]).refusals
    assert apply("fold_constants", graph_of_nothing()).refusals == []


def graph_of_nothing() -> Any:
    return graph("y = Relu (x)", takes="float[1] x", gives="float[1] y")

"""Passes that onnx-ir brings, under our contract; and the contract over all of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, assert_same_results, assert_well_formed, graph, tag, weight

from modelport.passes import PASSES, pipelines
from modelport.passes.base import GraphPass


@pytest.mark.parametrize("name", list(PASSES))
def test_members_say_who_they_are(name: str) -> None:
    member = PASSES.get(name)
    assert isinstance(member, GraphPass)
    assert member.name == name
    assert member.summary
    assert not member.summary.endswith(".")


@pytest.mark.parametrize("name", list(PASSES))
@pytest.mark.parametrize("opset", [9, 13, 20])
def test_nothing_to_do(name: str, opset: int) -> None:
    model = graph("a = Add (x, w)\ny = Relu (a)", takes="float[2] x", gives="float[2] y",
                  opset=opset, w=weight(2))  # fmt: skip
    del model.opset_imports["custom"]
    applied = apply(name, model)
    another = {
        "upgrade_opset": opset < 20, "lower_opset_11": opset > 11, "lower_opset_18": opset > 18
    }  # fmt: skip
    assert applied.modified == another.get(name, False)
    assert applied.refusals == []


def test_pipeline_holds_each_pass_once() -> None:
    names = [name for name, _ in pipelines.PORTABLE]
    assert len(set(names)) == len(names)
    assert [step.name for step in pipelines.portable()] == names
    assert all(reason for _, reason in pipelines.PORTABLE)


LISTED = "a = Add (x, w)\ny = Relu (a)"


def test_separate_initializers_keeps_true_inputs() -> None:
    model = graph(LISTED, takes="float[2] x, float[2] w", gives="float[2] y", w=weight(2))
    applied = apply("separate_initializers", model)
    assert applied.modified
    assert [value.name for value in model.graph.inputs] == ["x"]
    np.testing.assert_array_equal(applied.constant("w"), weight(2))


def test_separate_initializers_raises_the_ir_version_that_forbids_it() -> None:
    model = graph(LISTED, takes="float[2] x, float[2] w", gives="float[2] y", ir_version=3,
                  opset=8, w=weight(2))  # fmt: skip
    apply("separate_initializers", model)
    assert model.ir_version == 4


def test_infer_shapes_fills_in_types() -> None:
    model = graph("a = Transpose (x)\ny = Relu (a)", takes="float[2,N] x", gives="float[N,2] y")
    applied = apply("infer_shapes", model)
    (middle,) = model.graph[0].outputs
    assert middle.dtype == ir.DataType.FLOAT
    assert str(middle.shape) == "[N,2]"
    assert not applied.modified


def test_infer_shapes_leaves_what_it_cannot_infer() -> None:
    model = graph("a = custom.Mystery (x)\ny = Relu (a)", takes="float[2] x", gives="float[2] y")
    apply("infer_shapes", model, by=[])
    assert model.graph[0].outputs[0].dtype is None


@pytest.mark.parametrize(
    ("attribute", "kind", "expected"),
    [
        ("value = float[2] {1, 2}", "float[2]", [1, 2]),
        ("value_float = 1.5", "float", 1.5),
        ("value_floats = [1.5, 2.5]", "float[2]", [1.5, 2.5]),
        ("value_int = 3", "int64", 3),
        ("value_ints = [3, 4]", "int64[2]", [3, 4]),
    ],
)
def test_lift_constants(attribute: str, kind: str, expected: object) -> None:
    cast = "f = Cast <to = 1> (c)\n"
    model = graph(f"c = Constant <{attribute}> ()\n{cast}y = Add (x, f)", takes="float[2] x",
                  gives="float[2] y")  # fmt: skip
    applied = apply("lift_constants", model)
    assert applied.operators == ["Cast", "Add"]
    found = applied.constant("c")
    assert found.tolist() == expected
    assert found.dtype == (np.float32 if "float" in kind else np.int64)


def test_lift_constants_leaves_outputs_and_enters_bodies() -> None:
    model = graph(
        """
        c = Constant <value_floats = [1.0, 2.0]> ()
        y = If (flag) <
            then_branch = yes () => (float[2] p) {
                k = Constant <value_floats = [3.0, 4.0]> ()
                p = Add (x, k)
            },
            else_branch = no () => (float[2] q) { q = Constant <value_floats = [5.0, 6.0]> () }
        >
        """,
        takes="float[2] x, bool flag",
        gives="float[2] y, float[2] c",
    )
    applied = apply("lift_constants", model)
    assert applied.operators == ["Constant", "If"]
    yes, no = (model.graph[1].attributes[n].as_graph() for n in ("then_branch", "else_branch"))
    assert list(yes.initializers) == ["k"]
    assert [node.op_type for node in no] == ["Constant"]


def test_lift_constants_strings() -> None:
    model = graph('s = Constant <value_strings = ["1.5", "2"]> ()\nf = Cast <to = 1> (s)\n'
                  "y = Add (x, f)", takes="float[2] x", gives="float[2] y")  # fmt: skip
    apply("lift_constants", model)


def test_share_initializers() -> None:
    model = graph(
        "a = Add (x, one)\nb = Mul (a, two)\nc = Add (b, three)\ny = Add (c, four)",
        takes="float[2,2] x",
        gives="float[2,2] y",
        one=weight(2, 2),
        two=weight(2, 2),
        three=weight(2, 2, seed=1),
        four=weight(2, 2).reshape(4)[:2],
    )
    applied = apply("share_initializers", model)
    assert applied.modified
    assert list(model.graph.initializers) == ["one", "three", "four"]
    assert [node.inputs[1].name for node in model.graph] == ["one", "one", "three", "four"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.zeros(2, np.float32), np.zeros(2, np.int32)),
        (np.zeros(2, np.float32), np.zeros((1, 2), np.float32)),
        (np.zeros(2, np.float32), -np.zeros(2, np.float32)),
        (np.ones(1, np.float16), np.ones(1, ml_dtypes.bfloat16)),
    ],
)
def test_share_initializers_tells_apart(left: object, right: object) -> None:
    model = graph("a = Cast <to = 1> (l)\nb = Cast <to = 1> (r)\nc = Div (a, b)\ny = Add (x, c)",
                  takes="float[2] x", gives="float[M,N] y" if np.ndim(right) == 2 else "float[2] y",
                  l=left, r=right)  # fmt: skip
    assert not apply("share_initializers", model, by=[]).modified


@pytest.mark.parametrize(
    "array",
    [
        np.ones((3, 2), np.float32).T,
        np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
        np.ones(4, ml_dtypes.bfloat16),
        np.ones(4, ml_dtypes.float8_e4m3fn),
        np.ones(4, ml_dtypes.int4),
        np.asarray(1.0, np.float32),
        np.zeros((0, 3), np.float32),
    ],
    ids=["transposed", "strided", "bfloat16", "float8", "int4", "scalar", "empty"],
)
def test_share_initializers_takes_any_array(array: np.ndarray) -> None:
    model = graph("a = Cast <to = 1> (l)\nb = Cast <to = 1> (r)\ns = Sum (a, b)\n"
                  "t = ReduceSum <keepdims = 0> (s)\ny = Add (x, t)",
                  takes="float[2] x", gives="float[2] y", opset=21,
                  l=np.asarray([1.0], np.float32), r=np.asarray([2.0], np.float32))  # fmt: skip
    for value in model.graph.initializers.values():
        # As a front end gives them: arrays as they lie in memory, not what a file holds.
        value.const_value = ir.tensor(array, name=value.name)
        value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(array.shape)
    assert apply("share_initializers", model, by=[]).modified
    assert list(model.graph.initializers) == ["l"]


def test_share_initializers_leaves_outputs() -> None:
    model = graph("y = Add (x, one)", takes="float[2] x", gives="float[2] y, float[2] two",
                  one=weight(2), two=weight(2))  # fmt: skip
    applied = apply("share_initializers", model)
    assert [value.name for value in applied.model.graph.outputs] == ["y", "two"]


def test_share_initializers_leaves_what_a_caller_may_replace() -> None:
    """Equal defaults of two inputs are not one input."""
    model = graph("a = Mul (x, one)\ny = Add (a, two)", takes="float[2] x, float[2] one, float[2] two",
                  gives="float[2] y", one=weight(2), two=weight(2))  # fmt: skip
    apply("share_initializers", model)
    assert [value.name for value in model.graph.inputs] == ["x", "one", "two"]
    assert [node.inputs[1].name for node in model.graph] == ["one", "two"]


def test_share_initializers_of_strings() -> None:
    model = graph(
        's = Constant <value_strings = ["a", "b"]> ()\nt = Constant <value_strings = ["a", "b"]> ()\n'
        "e = Equal (s, t)\nf = Cast <to = 1> (e)\ny = Add (x, f)",
        takes="float[2] x",
        gives="float[2] y",
    )
    apply("lift_constants", model)
    apply("share_initializers", model)


def test_remove_unused() -> None:
    model = graph(
        "a = Relu (x)\nb = Neg (a)\nc = Exp (w)\nd = Add (c, v)\ny = Abs (a)",
        takes="float[2] x, float[2] unread",
        gives="float[2] y",
        w=weight(2),
        v=weight(2),
    )
    applied = apply("remove_unused", tag(model, a="act"))
    assert applied.operators == ["Relu", "Abs"]
    assert list(model.graph.initializers) == []
    assert "custom" not in model.opset_imports
    assert [value.name for value in model.graph.inputs] == ["x", "unread"]
    assert model.graph[0].metadata_props["modelport.module"] == "act"


def test_remove_unused_drops_optional_results_but_no_others() -> None:
    model = graph(
        "a, mask = Dropout (x)\nv, i = TopK (a, k)\ny = Relu (v)",
        takes="float[4] x",
        gives="float[2] y",
        k=np.asarray([2], np.int64),
    )
    apply("remove_unused", model)
    assert [value.name for value in model.graph[1].outputs] == ["v", "i"]


def test_remove_unused_in_bodies() -> None:
    model = graph(
        """
        y = If (flag) <
            then_branch = yes () => (float[2] p) {
                waste = Exp (x)
                p = Neg (x)
            },
            else_branch = no () => (float[2] q) { q = Add (x, w) }
        >
        """,
        takes="float[2] x, bool flag",
        gives="float[2] y",
        w=weight(2),
    )
    applied = apply("remove_unused", model)
    assert applied.modified
    yes = model.graph[0].attributes["then_branch"].as_graph()
    assert [node.op_type for node in yes] == ["Neg"]
    assert list(model.graph.initializers) == ["w"]


def test_whole_pipeline_on_what_an_exporter_writes() -> None:
    model = graph(
        """
        zero = Constant <value = int64 {0}> ()
        like = CastLike (zero, w)
        size = Shape <start = 0, end = 1> (w)
        bias = Expand (like, size)
        a = Conv (x, w, bias)
        n = BatchNormalization (a, scale, shift, mean, var)
        d = Dropout (n)
        r = Relu (d)
        i = Identity (r)
        s = Shape (i)
        one = Constant <value_ints = [-1]> ()
        batch = Slice (s, start, stop)
        target = Concat <axis = 0> (batch, one)
        y = Reshape (i, target)
        """,
        takes="float[2,2,3,3] x",
        gives="float[2,36] y",
        w=weight(4, 2, 1, 1),
        scale=np.ones(4, np.float32),
        shift=np.zeros(4, np.float32),
        mean=np.zeros(4, np.float32),
        var=np.ones(4, np.float32),
        start=np.asarray([0], np.int64),
        stop=np.asarray([1], np.int64),
    )
    before = model.clone()
    model = tag(model, a="conv", n="bn", r="act", y="flat")
    for step in pipelines.portable():
        step(model)
        assert_well_formed(before, model)
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Reshape"]
    assert [node.metadata_props["modelport.module"] for node in model.graph] == [
        "conv",
        "act",
        "flat",
    ]
    assert_same_results(before, model)
    assert not any(step(model).modified for step in pipelines.portable())

"""Nodes that give their input back, and where they must stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from helpers import Applied, apply, by_onnxruntime, graph, rename, tag, weight


def outputs(applied: Applied) -> list[str | None]:
    return [value.name for value in applied.model.graph.outputs]


def test_chain() -> None:
    model = graph(
        "a = Identity (x)\nb = Dropout (a)\nc = Cast <to = 1> (b)\nd = Relu (c)\n"
        "e = Identity (d)\ny = Identity (e)",
        takes="float[2] x",
        gives="float[2] y",
    )
    applied = apply("remove_identities", tag(model, d="act", e="skip"), exact=True)
    # Before shape inference the cast's input has a type because it is x itself by then.
    assert applied.operators == ["Relu"]
    assert outputs(applied) == ["y"]
    assert model.graph[0].metadata_props["modelport.module"] == "act"


def test_outputs_keep_name_and_type_without_shape_inference() -> None:
    model = graph("a = Relu (x)\ny = Identity (a)", takes="float[2,3] x", gives="float[2,3] y")
    assert model.graph[0].outputs[0].dtype is None
    apply("remove_identities", model)
    (output,) = model.graph.outputs
    assert (output.name, output.dtype) == ("y", ir.DataType.FLOAT)
    assert tuple(output.shape) == (2, 3)


def test_outputs_keep_the_names_of_their_free_sizes() -> None:
    """What the file promises its callers comes before what is known of a value inside."""
    model = graph("a = Relu (x)\ny = Identity (a)", takes="float[N,3] x", gives="float[batch,3] y")
    model.graph[0].outputs[0].shape = ir.Shape([None, 3])
    model.graph[0].outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    apply("remove_identities", model)
    assert str(model.graph.outputs[0].shape[0]) == "batch"


@pytest.mark.parametrize(
    ("body", "takes", "gives", "reason"),
    [
        (
            "y = Identity (x)",
            "float[2] x",
            "float[2] y",
            "it connects an input or a weight to an output",
        ),
        (
            "y = Identity (w)\nz = Relu (x)",
            "float[2] x",
            "float[2] y, float[2] z",
            "it connects an input or a weight to an output",
        ),
        (
            "a = Relu (x)\ny = Identity (a)",
            "float[2] x",
            "float[2] a, float[2] y",
            "its input is an output under another name",
        ),
    ],
)
def test_what_callers_see_stays(body: str, takes: str, gives: str, reason: str) -> None:
    model = graph(body, takes=takes, gives=gives, w=weight(2))
    applied = apply("remove_identities", model)
    assert not applied.modified
    assert applied.reasons == [reason]


def test_a_chain_between_input_and_output_keeps_one_link() -> None:
    model = graph(
        "a = Identity (x)\nb = Identity (a)\ny = Identity (b)",
        takes="float[2] x",
        gives="float[2] y",
    )
    applied = apply("remove_identities", model)
    assert applied.operators == ["Identity"]
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert outputs(applied) == ["y"]


def test_two_outputs_of_one_value() -> None:
    model = graph(
        "a = Relu (x)\ny = Identity (a)\nz = Identity (a)\nw = Neg (a)",
        takes="float[2] x",
        gives="float[2] z, float[2] y, float[2] w",
    )
    applied = apply("remove_identities", model)
    assert applied.operators == ["Relu", "Identity", "Neg"]
    assert outputs(applied) == ["z", "y", "w"]
    assert applied.reasons == ["its input is an output under another name"]


def test_identity_of_a_weight_is_passed_over() -> None:
    model = graph("v = Identity (w)\ny = Add (x, v)", takes="float[2] x", gives="float[2] y",
                  w=weight(2))  # fmt: skip
    applied = apply("remove_identities", model)
    assert applied.operators == ["Add"]
    assert model.graph[0].inputs[1].name == "w"


@pytest.mark.parametrize(
    ("node", "stays"),
    [
        ("a = Dropout (x)", False),
        ("a = Dropout (x, ratio)", False),
        ("a = Dropout (x, ratio, off)", False),
        ("a = Dropout (x, , off)", False),
        ("a, unused = Dropout (x)", False),
        ("a = Dropout (x, ratio, on)", True),
        ("a = Dropout (x, ratio, flag)", True),
        ("a, mask = Dropout (x)\nm = Cast <to = 1> (mask)", True),
    ],
)
def test_dropout(node: str, stays: bool) -> None:
    model = graph(
        f"{node}\ny = Relu (a)\nz = Cast <to = 1> ({'mask' if 'mask' in node else 'flag'})",
        takes="float[3] x, bool flag",
        gives="float[3] y, float z" if "mask" not in node else "float[3] y, float[3] z",
        ratio=np.float32(0.5),
        on=np.asarray(True),
        off=np.asarray(False),
    )
    random = "on" in node.split("(")[1] or "flag" in node
    applied = apply("remove_identities", model, by=[] if random else None)
    assert ("Dropout" in applied.operators) is stays


def test_dropout_whose_mask_is_an_output_stays() -> None:
    model = graph("a, m = Dropout (x)\ny = Relu (a)", takes="float[3] x",
                  gives="float[3] y, bool[3] m")  # fmt: skip
    assert not apply("remove_identities", model).modified


def test_dropout_of_opset_7() -> None:
    model = graph("a = Dropout <ratio = 0.9> (x)\ny = Relu (a)", takes="float[3] x",
                  gives="float[3] y", opset=7, ir_version=4)  # fmt: skip
    assert apply("remove_identities", model).operators == ["Relu"]


@pytest.mark.parametrize(("code", "stays"), [(1, False), (10, True), (7, True), (11, True)])
def test_cast(code: int, stays: bool) -> None:
    model = graph(f"a = Cast <to = {code}> (x)\ny = Cast <to = 1> (a)", takes="float[3] x",
                  gives="float[3] y")  # fmt: skip
    applied = apply("infer_shapes", model)
    applied = apply("remove_identities", model)
    assert applied.operators == (["Cast", "Cast"] if stays else ["Cast"])


def test_cast_of_unknown_type_stays() -> None:
    model = graph("t = custom.Mystery (x)\na = Cast <to = 1> (t)\ny = Relu (a)",
                  takes="float[2] x", gives="float[2] y")  # fmt: skip
    assert not apply("remove_identities", model, by=[]).modified


def test_operators_of_other_domains_stay() -> None:
    model = graph("a = custom.Identity (x)\nb = custom.Dropout (a)\ny = Relu (b)",
                  takes="float[2] x", gives="float[2] y")  # fmt: skip
    assert not apply("remove_identities", model, by=[]).modified


BRANCHES = """
    a = Relu (x)
    y = If (flag) <
        then_branch = yes () => (float[2] p) {
            b = Identity (a)
            c = Neg (b)
            d = Identity (c)
            p = Identity (d)
        },
        else_branch = no () => (float[2] q) { q = Identity (a) }
    >
"""


def test_bodies_that_refer_to_outer_values() -> None:
    model = graph(BRANCHES, takes="float[2] x, bool flag", gives="float[2] y")
    for flag in (True, False):
        feeds = {"x": weight(2), "flag": np.asarray(flag)}
        before = by_onnxruntime(model, feeds)["y"]
        changed = model.clone()
        applied = apply("remove_identities", changed)
        np.testing.assert_array_equal(by_onnxruntime(changed, feeds)["y"], before)
    assert applied.reasons == ["its input belongs to an enclosing graph"]
    yes, no = (changed.graph[1].attributes[n].as_graph() for n in ("then_branch", "else_branch"))
    assert [node.op_type for node in yes] == ["Neg"]
    assert [value.name for value in yes.outputs] == ["p"]
    assert yes[0].inputs[0].name == "a"
    assert [node.op_type for node in no] == ["Identity"]


def test_outer_identity_read_by_a_body() -> None:
    model = graph(
        """
        a = Identity (x)
        y = If (flag) <
            then_branch = yes () => (float[2] p) { p = Neg (a) },
            else_branch = no () => (float[2] q) { q = Relu (a) }
        >
        """,
        takes="float[2] x, bool flag",
        gives="float[2] y",
    )
    applied = apply("remove_identities", model)
    assert applied.operators == ["If"]


def test_value_that_takes_an_outputs_name_is_followed_into_bodies() -> None:
    model = graph(
        """
        a = Relu (x)
        z = If (flag) <
            then_branch = yes () => (float[2] p) { p = Neg (a) },
            else_branch = no () => (float[2] q) { q = Abs (a) }
        >
        y = Identity (a)
        """,
        takes="float[2] x, bool flag",
        gives="float[2] y, float[2] z",
    )
    assert apply("remove_identities", model).operators == ["Relu", "If"]


def test_loop_that_carries_a_value_along() -> None:
    model = graph(
        """
        y, s = Loop (count, , x) <
            body = step (int64 i, bool go, float[2] state) => (bool keep, float[2] next, float[2] seen) {
                keep = Identity (go)
                n = Identity (state)
                next = Add (n, n)
                seen = Identity (state)
            }
        >
        """,
        takes="float[2] x",
        gives="float[2] y, float[M,2] s",
        count=np.asarray(3, np.int64),
    )
    # The reference stops at once where a loop has a count alone.
    applied = apply("remove_identities", model, by=[by_onnxruntime])
    assert set(applied.reasons) == {"it connects an input or a weight to an output"}
    body = model.graph[0].attributes["body"].as_graph()
    assert [node.op_type for node in body] == ["Identity", "Add", "Identity"]


def test_metadata_of_renamed_weights_survives() -> None:
    model = graph("v = Identity (w)\na = Add (x, v)\ny = Identity (a)", takes="float[2] x",
                  gives="float[2] y", w=weight(2))  # fmt: skip
    model = rename(model, w="stem.weight")
    applied = apply("remove_identities", tag(model, a="stem"))
    assert applied.model.graph[0].inputs[1].name == "stem.weight"

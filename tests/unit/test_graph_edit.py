"""Edits do what they say, keep the signature, names and module paths, or refuse and change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx  # noqa: TID251 - the checker takes protos
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, by_reference, graph, tag, weight

from modelport.errors import GraphError, ModelportError, UnknownNameError, UsageError
from modelport.graph import edit, invariants, io, ports, recipe
from modelport.graph.query import signature_of

X = np.linspace(-3, 3, 18, dtype=np.float32).reshape(1, 2, 3, 3)


def network() -> ir.Model:
    model = graph(
        """
        c = Conv (x, w)
        r = Relu (c)
        l = LeakyRelu <alpha = 0.5> (r)
        h1 = HardSigmoid (l)
        h2 = Mul (l, h1)
        y = GlobalAveragePool (h2)
        """,
        takes="float[1,2,3,3] x",
        gives="float[1,2,1,1] y",
        w=weight(2, 2, 1, 1),
    )
    return tag(model, c="net.conv", r="net.act", l="net.leak", h1="swish", h2="swish", y="pool")


def edited(operation: str, text: str, model: ir.Model | None = None) -> ir.Model:
    """The result of one edit, with everything that must hold of every result."""
    model = network() if model is None else model
    before = snapshot(model)
    made = recipe.apply(model, [recipe.parse(operation, text)])
    assert snapshot(model) == before, "the original changed"
    invariants.check(made)
    onnx.checker.check_model(io.to_proto(made), full_check=True)
    assert all("modelport.module" in node.metadata_props for node in made.graph)
    return made


def snapshot(model: ir.Model) -> bytes:
    return io.to_proto(model).SerializeToString(deterministic=True)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def outputs(model: ir.Model, **feeds: Any) -> dict[str, Any]:
    found = by_onnxruntime(model, feeds or {"x": X})
    for name, array in by_reference(model, feeds or {"x": X}).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
    return found


# --- inserting --------------------------------------------------------------------------------------


def test_insert_after_a_value() -> None:
    made = edited("insert_after", "c Neg")
    assert operators(made)[:3] == ["Conv", "Neg", "Relu"]
    assert made.graph[1].metadata_props["modelport.module"] == "net.conv"
    assert signature_of(made) == signature_of(network())


def test_insert_after_an_output_keeps_its_name() -> None:
    made = edited("insert_after", "y Mul inputs=[10.0]")
    assert [value.name for value in made.graph.outputs] == ["y"]
    np.testing.assert_allclose(outputs(made)["y"], 10 * outputs(network())["y"], rtol=1e-5)


def test_insert_after_an_input_and_before_a_node() -> None:
    after = edited("insert_after", "x Mul inputs=[2.0]")
    before = edited("insert_before", "net.conv Mul inputs=[2.0]")
    assert operators(after)[0] == operators(before)[0] == "Mul"
    assert before.graph[0].metadata_props["modelport.module"] == "net.conv"
    np.testing.assert_array_equal(outputs(after)["y"], outputs(before)["y"])


def test_insert_before_leaves_other_readers_alone() -> None:
    made = edited("insert_before", "op:HardSigmoid Neg")
    mul = made.graph.node(operators(made).index("Mul"))
    assert [value.name for value in mul.inputs if value] == ["l", "h1"]


def test_insert_with_a_value_that_comes_later() -> None:
    """The order of nodes is restored."""
    model = graph(
        "a = Relu (x)\nb = Neg (x)\ny = Add (a, b)", takes="float[2] x", gives="float[2] y"
    )
    made = edited("insert_after", "a Mul inputs=[b]", tag(model, a="a", b="b", y="y"))
    assert operators(made) == ["Relu", "Neg", "Mul", "Add"]


def test_insert_with_attributes_as_the_operator_wants_them() -> None:
    made = edited("insert_after", "c LeakyRelu alpha=1")
    assert made.graph[1].attributes["alpha"].type == ir.AttributeType.FLOAT
    made = edited("insert_after", "y Transpose perm=[0,2,3,1]")
    assert made.graph.outputs[0].shape == [1, 1, 1, 2], "the signature follows"


def test_inserted_operator_of_another_domain() -> None:
    made = edited("insert_after", "c com.microsoft::Gelu")
    assert made.opset_imports["com.microsoft"] == 1
    assert made.graph[1].domain == "com.microsoft"
    assert made.graph[2].outputs[0].dtype == ir.DataType.FLOAT


def test_insert_inside_a_branch() -> None:
    model = branching()
    made = edited("insert_after", "p Neg", model)
    (then, _) = list(made.graph.subgraphs())
    assert operators_of(then) == ["Relu", "Neg"]
    assert [value.name for value in then.outputs] == ["p"]


def branching() -> ir.Model:
    model = graph(
        """
        a = Neg (x)
        y = If (flag) <
            then_branch = yes () => (float[2] p) { p = Relu (a) },
            else_branch = no () => (float[2] q) { q = Abs (a) }
        >
        """,
        takes="bool flag, float[2] x",
        gives="float[2] y",
    )
    return tag(model, a="a", y="b", p="b", q="b")


def operators_of(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph]


# --- replacing, removing, bypassing -----------------------------------------------------------------


def test_replace_a_node() -> None:
    made = edited("replace", "op:Relu Sigmoid")
    assert operators(made)[1] == "Sigmoid"
    assert made.graph[1].outputs[0].name == "r"
    assert made.graph[1].metadata_props["modelport.module"] == "net.act"


def test_replace_a_module_by_one_operator() -> None:
    made = edited("replace", "module:swish HardSwish")
    assert operators(made) == ["Conv", "Relu", "LeakyRelu", "HardSwish", "GlobalAveragePool"]


def test_replace_a_chain() -> None:
    made = edited("replace", "'Relu -> LeakyRelu' PRelu inputs=[c,0.25]")
    assert operators(made)[1] == "PRelu"
    assert made.graph[1].metadata_props["modelport.merged"] == "net.leak"


def test_replace_keeps_the_place_of_outputs() -> None:
    """Of two outputs only the second is read: its position still counts."""
    model = graph("a, b = Split <num_outputs = 2> (x)\ny = Neg (b)", takes="float[4] x",
                  gives="float[2] y")  # fmt: skip
    made = edited("replace", "op:Split Split num_outputs=2", tag(model, a="a", b="a", y="y"))
    x = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(outputs(made, x=x)["y"], [-2, -3])


def test_bypass_a_node_a_chain_and_what_touches() -> None:
    assert operators(edited("bypass", "op:Relu"))[1] == "LeakyRelu"
    assert operators(edited("bypass", "Relu -> LeakyRelu"))[1] == "HardSigmoid"
    assert operators(edited("bypass", "op:/Relu|LeakyRelu/"))[1] == "HardSigmoid"
    assert operators(edited("bypass", "swish"))[-1] == "GlobalAveragePool"


def test_bypass_between_input_and_output_needs_an_identity() -> None:
    model = graph("y = Relu (x)", takes="float[2] x", gives="float[2] y")
    made = edited("bypass", "op:Relu", tag(model, y="m"))
    assert operators(made) == ["Identity"]
    assert signature_of(made) == signature_of(model)


def test_bypass_an_output_keeps_its_name() -> None:
    model = graph("a = Neg (x)\ny = Relu (a)", takes="float[2] x", gives="float[2] y")
    made = edited("bypass", "op:Relu", tag(model, a="a", y="b"))
    assert operators(made) == ["Neg"]
    assert [value.name for value in made.graph.outputs] == ["y"]


def test_remove_takes_what_only_it_needed() -> None:
    model = graph(
        "y = Relu (x)\na = Conv (x, w)\nz = Neg (a)",
        takes="float[1,2,3,3] x",
        gives="float[1,2,3,3] y, float[1,2,3,3] z",
        w=weight(2, 2, 1, 1),
    )
    tag(model, y="m", a="aux", z="aux")
    made = edited("remove_output", "z", model)
    assert operators(made) == ["Relu"]
    assert not made.graph.initializers


def test_remove_nodes_that_nothing_reads() -> None:
    model = graph("y = Relu (x)\na = Neg (x)\nb = Abs (a)", takes="float[2] x", gives="float[2] y")
    made = edited("remove", "op:Abs", tag(model, y="m", a="m", b="m"))
    assert operators(made) == ["Relu"]


# --- names, attributes, outputs ---------------------------------------------------------------------


def test_rename_inputs_outputs_weights_and_nodes() -> None:
    model = network()
    for value, to in (("x", "image"), ("y", "score"), ("w", "net.conv.weight"), ("c", "features")):
        model = edited("rename", f"{value} {to}", model)
    assert signature_of(model).inputs[0].name == "image"
    assert signature_of(model).outputs[0].name == "score"
    assert list(model.graph.initializers) == ["net.conv.weight"]
    assert model.graph[0].outputs[0].name == "features"
    made = edited("rename_node", "net.conv stem")
    assert made.graph[0].name == "stem"


def test_set_and_remove_attributes() -> None:
    made = edited("set_attribute", "op:LeakyRelu alpha 1")
    assert made.graph[2].attributes["alpha"].as_float() == 1.0
    assert "alpha" not in edited("remove_attribute", "op:LeakyRelu alpha").graph[2].attributes


def test_outputs_added_with_their_types() -> None:
    made = edited("add_output", "net.conv features")
    assert [str(spec) for spec in signature_of(made).outputs][1] == "features: float32 1x2x3x3"
    assert made.graph[0].outputs[0].name == "features"
    made = edited("add_output", "x copy", made)
    assert set(outputs(made)) == {"y", "features", "copy"}
    np.testing.assert_array_equal(outputs(made)["copy"], X)


# --- the signature ----------------------------------------------------------------------------------


def test_free_a_size() -> None:
    made = edited("set_input", "x=1..16x2x3x3")
    assert str(signature_of(made).inputs[0]) == "x: float32 1..16x2x3x3"
    assert outputs(made, x=np.repeat(X, 5, 0))["y"].shape == (5, 2, 1, 1)
    assert not isinstance(made.graph.outputs[0].shape[0], int), "what depends on it is free too"


def test_fix_a_size_again() -> None:
    made = edited("set_input", "x=4x2x3x3", edited("set_input", "x=1..16x2x3x3"))
    assert signature_of(made).inputs[0].shape == (4, 2, 3, 3)
    assert signature_of(made).outputs[0].shape == (4, 2, 1, 1)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_another_element_type_in(dtype: str) -> None:
    made = edited("set_input", f"x:{dtype}")
    assert str(signature_of(made).inputs[0]) == f"x: {dtype} 1x2x3x3"
    x = np.arange(18).reshape(X.shape).astype(dtype)
    expected = outputs(network(), x=x.astype(np.float32))["y"]
    np.testing.assert_allclose(outputs(made, x=x)["y"], expected)


def test_another_element_type_out() -> None:
    made = edited("set_output", "y:float16")
    assert str(signature_of(made).outputs[0]) == "y: float16 1x2x1x1"
    assert outputs(made)["y"].dtype == np.float16


def test_set_input_keeps_the_element_type_where_none_is_said() -> None:
    model = graph("y = Neg (ids)", takes="int64[1,4] ids", gives="int64[1,4] y")
    made = edited("set_input", "ids=1..8x4", tag(model, y="m"))
    assert str(signature_of(made).inputs[0]) == "ids: int64 1..8x4"


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "text", "error", "words"),
    [
        ("insert_after", "c relu", UnknownNameError, "no operator 'relu' in opset 20. Perhaps you"),
        ("insert_after", "c Relu alpha=1", UnknownNameError, "Relu has no attribute 'alpha'"),
        ("insert_after", "c LeakyRelu aplha=1", UnknownNameError, "meant 'alpha'"),
        ("insert_after", "c LeakyRelu alpha=much", UsageError, "cannot be 'much'. Expected float"),
        ("insert_after", "c Mul inputs=[h2]", GraphError, "'h2' is computed from what"),
        ("insert_after", "c Mul inputs=[none]", UnknownNameError, "Nothing in the graph is 'none'"),
        ("insert_after", "c MatMul inputs=[w]", GraphError, "In module net.conv: ONNX refuses"),
        ("insert_after", "op:/Mul|Conv/ Neg", UsageError, "stands for 2 values"),
        ("insert_before", "net.conv Neg input=7", GraphError, "has no input 7"),
        ("insert_before", "net.conv Neg inputs=[y]", GraphError, "computed from"),
        ("replace", "module:net Relu inputs=[y]", GraphError, "computed from"),
        ("replace", "op:Relu MatMul", GraphError, "ONNX refuses the node"),
        ("bypass", "net.conv.weight", UnknownNameError, "Nothing in the graph is"),
        ("bypass", "pool", GraphError, "In module pool: "),
        ("bypass", "op:Mul", GraphError, "takes 'l', 'h1' and gives 'h2'"),
        ("remove", "op:Relu", GraphError, "'net.leak' reads its result 'r'"),
        ("remove", "pool", GraphError, "callers see its result 'y'"),
        ("rename", "x y", UsageError, "named 'y' already"),
        ("rename_node", "op:* a", UsageError, "stands for 6 nodes"),
        ("set_attribute", "op:Relu alpha 1", UnknownNameError, "Relu has no attribute"),
        ("set_attribute", "op:Conv group 1.5", UsageError, "cannot be 1.5. Expected int"),
        ("remove_attribute", "op:LeakyRelu beta", GraphError, "one of its own: alpha"),
        ("add_output", "y", UsageError, "'y' is an output already"),
        ("add_output", "c r", UsageError, "named 'r' already"),
        ("add_output", "x", UsageError, "Give the output another name"),
        ("remove_output", "z", UnknownNameError, "no output 'z'"),
        ("remove_input", "x", UsageError, "is read by 'net.conv'"),
        ("set_input", "z:uint8", UnknownNameError, "no input 'z'"),
        ("set_input", "x:flot32", UsageError, "no element type 'flot32'"),
        ("set_input", "x=1x2", UsageError, "has 4 dimensions, and '1x2' has 2"),
        ("set_input", "x:int32=1..2x2x3x3x", UsageError, "cannot be read"),
        ("set_input", "x=0x2x3x3", UsageError, "cannot be read"),
    ],
)  # fmt: skip
def test_refusals_leave_the_model_alone(
    operation: str, text: str, error: type[ModelportError], words: str
) -> None:
    model = network()
    before = snapshot(model)
    with pytest.raises(error) as caught:
        recipe.apply(model, [recipe.parse("add_output", "l"), recipe.parse(operation, text)])
    assert words in str(caught.value)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda m: edit.insert_after(m, "c", "Nope"),
        lambda m: edit.insert_after(m, "c", "Mul", inputs=[2.0, "none"]),
        lambda m: edit.insert_after(m, "c", "Mul", inputs=[[[1], [1, 2]]]),
        lambda m: edit.insert_before(m, "op:*", "Neg", input=1),
        lambda m: edit.replace(m, "op:Relu", "Add", inputs=["c", "y"]),
        lambda m: edit.bypass(m, "op:/Relu|Mul/"),
        lambda m: ports.remove_output(m, "y"),
        lambda m: edit.remove(m, "op:/Relu|Conv/"),
        lambda m: edit.set_attribute(m, "op:/LeakyRelu|HardSigmoid|Relu/", "alpha", 1),
        lambda m: ports.set_input(m, "x", dtype="uint8", shape="1x2"),
        lambda m: ports.add_output(m, "x", "c"),
    ],
)
def test_a_function_that_raises_has_changed_nothing(change: Any) -> None:
    model = network()
    before = snapshot(model)
    with pytest.raises(ModelportError):
        change(model)
    assert snapshot(model) == before


def test_nodes_across_a_border_of_a_branch_are_refused() -> None:
    with pytest.raises(ModelportError):
        recipe.apply(branching(), [recipe.parse("bypass", "module:/a|b/")])

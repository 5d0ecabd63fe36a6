"""Sub-models, parts and joined models compute what the whole computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx  # noqa: TID251 - the checker takes protos
import onnx_ir as ir
import pytest
from helpers import by_onnxruntime, graph, tag, weight
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_passes_property import models

from modelport.errors import GraphError, UnknownNameError, UsageError
from modelport.feeds import random_feeds
from modelport.graph import diff, extract, group, io, merge, provenance, recipe
from modelport.graph.query import signature_of
from modelport.graph.scope import ancestors
from modelport.passes import PASSES
from modelport.passes.pipelines import portable


def network() -> ir.Model:
    model = graph(
        """
        c = Conv (x, w)
        r = Relu (c)
        one = Constant <value = float {2.0}> ()
        s = Mul (r, one)
        d = Conv (s, w)
        t = Add (d, r)
        y = GlobalAveragePool (t)
        """,
        takes="float[N,2,3,3] x",
        gives="float[N,2,1,1] y",
        w=weight(2, 2, 1, 1),
    )
    return tag(
        model, c="back.conv", r="back.act", one="neck", s="neck", d="neck.conv", t="neck", y="head"
    )


def marked(**names: str) -> ir.Model:
    model = network()
    for value in (value for node in model.graph for value in node.outputs):
        if value.name in names:
            value.metadata_props[provenance.MARK] = names[value.name]
    return model


def inputs(model: ir.Model) -> list[str]:
    return [str(spec) for spec in signature_of(model).inputs]


def outputs(model: ir.Model) -> list[str]:
    return [str(spec) for spec in signature_of(model).outputs]


def run(parts: list[ir.Model], feeds: Any) -> dict[str, Any]:
    """Runs parts one after the other, by the names of their values."""
    known = dict(feeds)
    for part in parts:
        onnx.checker.check_model(io.to_proto(part), full_check=True)
        names = [value.name for value in part.graph.inputs]
        known |= by_onnxruntime(part, {name: known[name] for name in names})
    return known


# --- cutting out ------------------------------------------------------------------------------------


def test_extract_a_module() -> None:
    neck = extract.module(network(), "neck")
    assert inputs(neck) == ["r: float32 Nx2x3x3"]
    assert outputs(neck) == ["t: float32 Nx2x3x3"]
    assert {provenance.module_of(node) for node in neck.graph} == {"neck", "neck.conv"}
    feeds = random_feeds(signature_of(network()), 1)
    parts = [extract.module(network(), name) for name in ("back", "neck", "head")]
    np.testing.assert_array_equal(run(parts, feeds)["y"], by_onnxruntime(network(), feeds)["y"])


def test_constants_of_other_modules_come_along() -> None:
    model = tag(network(), one="settings")
    assert inputs(extract.module(model, "neck")) == ["r: float32 Nx2x3x3"]


def test_extract_between_values() -> None:
    part = extract.between(network(), ["r"], ["d"])
    assert [node.op_type for node in part.graph] == ["Constant", "Mul", "Conv"]
    assert inputs(extract.between(network(), outputs=["s"])) == ["x: float32 Nx2x3x3"]
    assert outputs(extract.between(network(), ["s", "r"])) == ["y: float32 Nx2x1x1"]


def test_values_without_types_are_inferred() -> None:
    assert network().graph[0].outputs[0].dtype is None
    assert outputs(extract.between(network(), outputs=["c"])) == ["c: float32 Nx2x3x3"]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: extract.module(m, "nick"), UnknownNameError, "Perhaps you meant 'neck'"),
        (lambda m: extract.between(m, ["s"]), UsageError, "needs 'x' too. Expected inputs that"),
        (lambda m: extract.between(m, ["c", "r"]), UsageError, "does not need 'c'"),
        (lambda m: extract.between(m, ["z"]), UnknownNameError, "'z'"),
        (lambda m: extract.split(m), UsageError, 'modelport.mark(x, "neck")'),
        (lambda m: extract.split(m, ["y"]), UsageError, "Nothing is computed after 'y'"),
        (lambda m: extract.split(m, ["c", "x"]), UsageError, "Nothing is computed before 'x'"),
        (lambda m: extract.split(m, ["zz"]), UnknownNameError, "neither a mark nor a value 'zz'"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call(network())
    assert words in str(caught.value)


def test_nodes_of_a_branch_cannot_be_cut_out_alone() -> None:
    model = graph(
        """
        y = If (flag) <
            then_branch = yes () => (float[2] p) { p = Neg (x) },
            else_branch = no () => (float[2] q) { q = Abs (x) }
        >
        """,
        takes="bool flag, float[2] x",
        gives="float[2] y",
    )
    tag(model, p="inside", y="outside")
    with pytest.raises(GraphError, match="'inside' lies inside a branch"):
        extract.module(model, "inside")
    whole = extract.module(model, "outside")
    assert inputs(whole) == ["flag: bool scalar", "x: float32 2"], "what branches read crosses too"


# --- splitting --------------------------------------------------------------------------------------


def test_split_at_marks() -> None:
    model = marked(r="features", d="neck")
    assert list(extract.marks(model)) == ["features", "neck"]
    parts = extract.split(model)
    assert [outputs(part) for part in parts] == [
        ["r: float32 Nx2x3x3"],
        ["d: float32 Nx2x3x3"],
        ["y: float32 Nx2x1x1"],
    ]
    assert inputs(parts[2]) == ["d: float32 Nx2x3x3", "r: float32 Nx2x3x3"], "the skip crosses"
    feeds = random_feeds(signature_of(model), 1)
    np.testing.assert_array_equal(run(parts, feeds)["y"], by_onnxruntime(model, feeds)["y"])
    assert len(extract.split(model, ["neck"])) == 2


def test_a_cut_that_no_output_needs() -> None:
    model = simple("y = Neg (x)\nidle = Abs (x)", "float[2] x", "float[2] y")
    with pytest.raises(UsageError, match="Neither later parts nor outputs need part 1"):
        extract.split(model, ["idle"])


def test_marks_survive_saving_and_passes(tmp_path: Any) -> None:
    model = marked(c="early", r="features", d="neck")
    for step in portable():
        step(model)
    io.save(model, tmp_path / "m.onnx")
    loaded = io.load(tmp_path / "m.onnx")
    found = {name: [v.name for v in values] for name, values in extract.marks(loaded).items()}
    assert found == {"early": ["c"], "features": ["r"], "neck": ["d"]}


def test_a_mark_keeps_what_it_stands_on_from_being_folded() -> None:
    ones = np.ones(2, np.float32)
    model = graph(
        "c = Conv (x, w)\ny = BatchNormalization (c, s, b, m, v)",
        takes="float[1,2,3,3] x",
        gives="float[1,2,3,3] y",
        w=weight(2, 2, 1, 1), s=ones, b=ones, m=ones, v=ones,
    )  # fmt: skip
    model.graph[0].outputs[0].metadata_props[provenance.MARK] = "here"
    assert not PASSES.get("fold_batchnorm")(model).modified
    assert list(extract.marks(model)) == ["here"]


@settings(max_examples=60, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(data=st.data(), model=models())
def test_parts_of_any_graph_chain_to_the_whole(data: st.DataObject, model: ir.Model) -> None:
    for number, node in enumerate(model.graph):
        node.metadata_props["modelport.module"] = f"block{number}"
    values = [v.name for node in model.graph for v in node.outputs if not v.is_graph_output()]
    at = data.draw(st.lists(st.sampled_from(values), max_size=3, unique=True)) if values else []
    before = io.to_proto(model).SerializeToString(deterministic=True)
    feeds = random_feeds(signature_of(model), 1)
    names = [value.name for value in model.graph.outputs]
    expected = by_onnxruntime(model, feeds)
    try:
        parts = extract.split(model, at)
    except (UsageError, GraphError):  # nothing between two of them, or a shape that nobody knows
        parts = [extract.between(model)]
    found = run(parts, feeds)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    if len(parts) > 1:
        whole = merge.chain(parts, outputs=names)
        results = by_onnxruntime(whole, {v.name: feeds[v.name] for v in whole.graph.inputs})
        for name in names:
            np.testing.assert_allclose(results[name], expected[name], rtol=1e-5, atol=1e-5)
        assert all(provenance.module_of(node) for node in whole.graph)
    untouched = {node.metadata_props["modelport.module"] for node in model.graph}
    for part in parts:
        assert {provenance.module_of(node) for node in part.graph} <= untouched
    assert io.to_proto(model).SerializeToString(deterministic=True) == before


@settings(max_examples=30, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(data=st.data(), model=models())
def test_any_module_can_be_cut_out_and_folded(data: st.DataObject, model: ir.Model) -> None:
    """Modules at random: what is extracted is well formed, and grouping changes no result."""
    for node in model.graph:
        path = data.draw(st.sampled_from(["a", "a.b", "a.b.c", "d", "d.e"]))
        node.metadata_props["modelport.module"] = path
    for path in ("a", "d.e"):
        try:
            part = extract.module(model, path)
        except (UnknownNameError, GraphError):
            continue
        onnx.checker.check_model(io.to_proto(part), full_check=True)
    grouped, _ = group.group(model)
    onnx.checker.check_model(io.to_proto(grouped))
    feeds = random_feeds(signature_of(model), 1)
    expected, found = by_onnxruntime(model, feeds), by_onnxruntime(grouped, feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


# --- joining ----------------------------------------------------------------------------------------


def simple(body: str, takes: str, gives: str, **more: Any) -> ir.Model:
    model = graph(body, takes=takes, gives=gives, **more)
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
        node.metadata_props["modelport.module"] = f"net.{number}"
    return model


def double() -> ir.Model:
    return simple("y = Add (x, x)", "float[N,2] x", "float[N,2] y")


def scaled() -> ir.Model:
    return simple("z = Mul (y, w)", "float[N,2] y", "float[N,2] z", w=weight(2))


def test_chain_by_name() -> None:
    whole = merge.chain([double(), scaled()])
    assert inputs(whole) == ["x: float32 Nx2"]
    assert outputs(whole) == ["z: float32 Nx2"]
    x = weight(3, 2, seed=4)
    np.testing.assert_allclose(by_onnxruntime(whole, {"x": x})["z"], 2 * x * weight(2), rtol=1e-6)


def test_chain_by_order_and_names_that_clash() -> None:
    whole = merge.chain([double(), double_again()])
    assert outputs(whole) == ["z: float32 Nx2"]
    assert [node.name for node in whole.graph] == ["n0", "m2.n0"]
    x = weight(3, 2)
    np.testing.assert_allclose(by_onnxruntime(whole, {"x": x})["z"], 4 * x, rtol=1e-6)


def double_again() -> ir.Model:
    return simple("z = Add (v, v)", "float[N,2] v", "float[N,2] z")


def test_a_model_behind_itself() -> None:
    with pytest.raises(UsageError, match="Two models have an output 'y'"):
        merge.chain([double(), double()])
    whole = merge.chain([double(), double()], map={"x": "y"})
    x = weight(3, 2)
    assert outputs(whole) == ["y: float32 Nx2"]
    np.testing.assert_allclose(by_onnxruntime(whole, {"x": x})["y"], 4 * x, rtol=1e-6)


def test_chain_by_map_with_more_outputs() -> None:
    first = simple("a = Neg (x)\nb = Abs (x)", "float[2] x", "float[2] a, float[2] b")
    second = simple("z = Exp (v)", "float[2] v", "float[2] z")
    whole = merge.chain([first, second], map={"v": "b"})
    assert outputs(whole) == ["a: float32 2", "z: float32 2"]
    whole = merge.chain([first, second], map={"v": "b"}, outputs=["z", "b"])
    assert outputs(whole) == ["z: float32 2", "b: float32 2"]


def test_prefixes_name_modules_and_weights() -> None:
    whole = merge.chain([double(), scaled()], prefixes=["first.", "second."])
    assert [provenance.module_of(node) for node in whole.graph] == ["first.net.0", "second.net.0"]
    assert list(whole.graph.initializers) == ["second.w"]
    assert inputs(whole) == ["x: float32 Nx2"]


def test_beside() -> None:
    whole = merge.beside([scaled(), scaled()])
    assert inputs(whole) == ["y: float32 Nx2", "m2.y: float32 Nx2"]
    assert outputs(whole) == ["z: float32 Nx2", "m2.z: float32 Nx2"]
    shared = merge.beside([scaled(), scaled()], share=["y"])
    assert inputs(shared) == ["y: float32 Nx2"]
    found = by_onnxruntime(shared, {"y": weight(3, 2)})
    np.testing.assert_array_equal(found["z"], found["m2.z"])


def test_opsets_meet_where_operators_mean_the_same() -> None:
    old = simple("y = Add (x, x)", "float[N,2] x", "float[N,2] y", opset=13, ir_version=7)
    whole = merge.chain([old, scaled()])
    assert (whole.opset_imports[""], whole.ir_version) == (20, 10)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (lambda: [double()], "1 models were given"),
        (lambda: [double(), simple("z = Neg (y)", "float[N,3] y", "float[N,3] z")], "cannot take"),
        (lambda: [double(), simple("z = Neg (y)", "int64[N,2] y", "int64[N,2] z")], "cannot take"),
        (lambda: [double(), simple("z = Add (a, b)", "float[2] a, float[2] b", "float[2] z")],
         "nor are they as many"),
        (lambda: [simple("a, b = Split <axis = 0, split = [1, 1]> (x)", "float[2] x",
                         "float[1] a, float[1] b", opset=11),
                  simple("z = Neg (a)", "float[1] a", "float[1] z")], "Split of opset 11"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit(parts: Any, words: str) -> None:
    with pytest.raises((UsageError, GraphError)) as caught:
        merge.chain(parts())
    assert words in str(caught.value)


def test_a_map_to_nowhere() -> None:
    with pytest.raises(UsageError, match=r"is to take 'q'. Expected an output of before: y"):
        merge.chain([double(), scaled()], map={"y": "q"})
    with pytest.raises(UsageError, match="The map names 'nobody'"):
        merge.chain([double(), scaled()], map={"nobody": "y"})


# --- comparing --------------------------------------------------------------------------------------


def test_equal_graphs() -> None:
    assert diff.diff(network(), network()).is_empty
    renamed = recipe.apply(network(), [recipe.parse("rename", "c features")])
    assert diff.diff(recipe.apply(network(), []), renamed).is_empty, "names between do not count"


@pytest.mark.parametrize(
    ("operation", "text", "expected"),
    [
        ("bypass", "back.act", {"removed": {"back.act": ["Relu"]}, "operators": {"Relu": (1, 0)}}),
        ("insert_after", "c Neg name=new", {"added": {"back.conv": ["Neg new"]}}),
        ("set_attribute", "neck.conv group 1", {"changed": ("group: None -> 1",)}),
        ("replace", "back.act Sigmoid", {"changed": ("operator: Relu -> Sigmoid",)}),
        ("set_input", "x=4x2x3x3", {"signature": 2}),
        ("rename", "w kernel", {"weights_added": ("kernel",), "weights_removed": ("w",)}),
        ("set_weight", "one data=3", {"changed": ("value: 2.0 -> 3.0",)}),
    ],
)  # fmt: skip
def test_differences(operation: str, text: str, expected: dict[str, Any]) -> None:
    before = recipe.apply(network(), [])
    found = diff.diff(before, recipe.apply(before, [recipe.parse(operation, text)]))
    for key, wanted in expected.items():
        value: Any = getattr(found, key)
        if key == "changed":
            assert wanted[0] in [each for change in value for each in change.what]
        elif key == "signature":
            assert len(value) == wanted
        else:
            assert wanted == value if key != "operators" else wanted.items() <= value.items()


def test_weights_that_differ() -> None:
    other = recipe.apply(network(), [recipe.parse("set_weight", "w data=0")])
    (change,) = diff.diff(network(), other).weights_changed
    assert (change.name, change.before) == ("w", change.after)
    assert change.max_difference == pytest.approx(float(np.abs(weight(2, 2, 1, 1)).max()))


def test_rewired_inputs_differ() -> None:
    one = simple("a = Neg (x)\nb = Abs (x)\ny = Sub (a, b)", "float[2] x", "float[2] y")
    other = simple("a = Neg (x)\nb = Abs (x)\ny = Sub (b, a)", "float[2] x", "float[2] y")
    (change,) = diff.diff(one, other).changed
    assert change.what == ("input 0: n0 -> n1", "input 1: n1 -> n0")


# --- modules as functions ---------------------------------------------------------------------------


def test_modules_become_functions() -> None:
    grouped, left_out = group.group(network())
    assert left_out == []
    assert [node.op_type for node in grouped.graph] == ["back", "neck", "GlobalAveragePool"]
    assert {name for _, name, _ in grouped.functions} == {"back", "neck"}
    feeds = random_feeds(signature_of(network()), 1)
    np.testing.assert_array_equal(
        by_onnxruntime(grouped, feeds)["y"], by_onnxruntime(network(), feeds)["y"]
    )


def test_interleaved_modules_stay() -> None:
    model = tag(network(), c="a", r="b", s="a", d="a", t="b", y="c")
    _, left_out = group.group(model)
    assert left_out == ["a", "b"]


@settings(max_examples=60, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(data=st.data(), model=models())
def test_passes_keep_marks_where_they_were(data: st.DataObject, model: ir.Model) -> None:
    """Whatever pass runs, a marked value is still there, and has the same contents."""
    fed = set(model.graph.inputs)
    for node in model.graph:  # what is like x, or has its shape, is a constant
        sources = node.inputs[:1] if node.op_type in ("CastLike", "Expand") else node.inputs
        if node.op_type != "Shape" and any(value in fed for value in sources):
            fed |= set(node.outputs)
    needed = {v for node in ancestors(model.graph.outputs) for v in node.outputs} & fed
    values = sorted((v.name for v in needed if not v.is_graph_output()), key=str)
    chosen = data.draw(st.lists(st.sampled_from(values), max_size=3, unique=True)) if values else []
    for value in needed:
        if value.name in chosen:
            value.metadata_props[provenance.MARK] = f"mark_{value.name}"
    before = recipe.apply(model, [recipe.parse("add_output", name) for name in chosen])
    for step in portable():
        step(model)
    found = extract.marks(model)
    assert set(found) == {f"mark_{name}" for name in chosen}
    feeds = random_feeds(signature_of(model), 1)
    expected = by_onnxruntime(before, feeds)
    for (value,) in found.values():
        if not value.is_graph_output():
            model.graph.outputs.append(value)
    results = by_onnxruntime(model, feeds)
    for name, (value,) in found.items():
        wanted = expected[name.removeprefix("mark_")]
        np.testing.assert_allclose(results[str(value.name)], wanted, rtol=1e-4, atol=1e-4)

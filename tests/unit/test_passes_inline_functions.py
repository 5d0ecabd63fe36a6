"""Calls of functions become the bodies of the functions."""

from __future__ import annotations

import onnx  # noqa: TID251 - parses functions as text
import onnx_ir as ir
import pytest
from helpers import apply, assert_same_results, by_onnxruntime, by_reference, tag

from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.feeds import random_feeds
from modelport.graph import functions, invariants
from modelport.graph.provenance import MODULE
from modelport.graph.query import signature_of
from modelport.optimization import optimize
from modelport.passes import PASSES
from modelport.passes.pipelines import portable
from modelport.types import Target

WAVE = """
<domain: "custom", opset_import: ["" : 20]>
Wave <rate> (x) => (y) {
    r = Constant <value_float: float = @rate> ()
    t = Mul (x, r)
    s = Sin (t)
    y = Add (s, x)
}
"""


def model(
    body: str, *texts: str, takes: str = "float[N, 4] x", gives: str = "float[N, 4] y"
) -> ir.Model:
    head = '<ir_version: 10, opset_import: ["" : 20, "custom" : 1]>'
    text = f"{head}\nmain ({takes}) => ({gives}) {{\n{body}\n}}\n" + "\n".join(texts)
    return ir.from_proto(onnx.parser.parse_model(text))


def test_a_call_becomes_its_body() -> None:
    before = model("a = Relu (x)\ny = custom.Wave <rate = 1.5> (a)", WAVE)
    applied = apply("inline_functions", before)
    assert applied.modified
    assert applied.operators == ["Relu", "Constant", "Mul", "Sin", "Add"]
    assert not applied.model.functions


def test_two_calls_keep_their_attributes_and_names_apart() -> None:
    before = model("a = custom.Wave <rate = 1.5> (x)\ny = custom.Wave <rate = 0.5> (a)", WAVE)
    applied = apply("inline_functions", before)
    assert applied.operators.count("Sin") == 2
    names = [node.name for node in applied.model.graph]
    assert len(set(names)) == len(names)


def test_provenance_of_the_call_goes_to_the_nodes_of_the_body() -> None:
    before = tag(
        model("a = Relu (x)\nb = custom.Wave <rate = 1.5> (a)\ny = Relu (b)", WAVE),
        a="stem", b="neck.wave", y="head",
    )  # fmt: skip
    applied = apply("inline_functions", before)
    paths = [node.metadata_props.get(MODULE) for node in applied.model.graph]
    assert paths == ["stem", *["neck.wave"] * 4, "head"]


def test_functions_within_functions() -> None:
    outer = """
    <domain: "custom", opset_import: ["" : 20, "custom" : 1]>
    Twice <rate> (x) => (y) {
        a = custom.Wave <rate: float = @rate> (x)
        y = custom.Wave <rate = 2.0> (a)
    }
    """
    applied = apply("inline_functions", model("y = custom.Twice <rate = 0.5> (x)", WAVE, outer))
    assert applied.operators.count("Sin") == 2
    assert not applied.model.functions


def test_calls_in_subgraphs() -> None:
    body = """
    half = Constant <value = float {0.5}> ()
    least = ReduceMin <keepdims = 0> (x)
    low = Less (least, half)
    y = If (low) <
        then_branch = yes () => (float[N, 4] p) { p = custom.Wave <rate = 1.5> (x) },
        else_branch = no () => (float[N, 4] q) { q = Relu (x) }
    >
    """
    applied = apply("inline_functions", model(body, WAVE))
    inside = {node.op_type for node in applied.model.graph.all_nodes()}
    assert "Sin" in inside
    assert "Wave" not in inside


def test_optional_inputs_and_attributes_with_defaults() -> None:
    clamp = """
    <domain: "custom", opset_import: ["" : 20]>
    Clamp <slope: float = 0.25> (x, low, high) => (y) {
        a = Clip (x, low, high)
        y = LeakyRelu <alpha: float = @slope> (a)
    }
    """
    body = """
    one = Constant <value = float {1.0}> ()
    a = custom.Clamp (x, , one)
    y = custom.Clamp <slope = 0.5> (a)
    """
    # onnx's reference evaluator knows neither in functions.
    applied = apply("inline_functions", model(body, clamp), by=[by_onnxruntime])
    clips = [node for node in applied.model.graph if node.op_type == "Clip"]
    assert [[value is None for value in node.inputs] for node in clips] == [
        [False, True, False],
        [False, True, True],
    ]
    slopes = [
        n.attributes.get_float("alpha", 0) for n in applied.model.graph if n.op_type == "LeakyRelu"
    ]
    assert slopes == [0.25, 0.5]


def test_an_input_that_is_an_output_keeps_the_name_that_callers_know() -> None:
    both = """
    <domain: "custom", opset_import: ["" : 20]>
    Both (x) => (x, y) { y = Relu (x) }
    """
    before = model("a, y = custom.Both (x)", both, gives="float[N, 4] a, float[N, 4] y")
    applied = apply("inline_functions", before, by=[by_reference])  # ONNX Runtime refuses these
    assert [value.name for value in applied.model.graph.outputs] == ["a", "y"]


def test_an_older_body_is_adopted_where_it_means_the_same() -> None:
    before = model("y = custom.Wave <rate = 1.5> (x)", WAVE.replace(": 20", ": 18"))
    changed = before.clone()
    assert PASSES.get("inline_functions")(changed).modified
    assert changed.opset_imports[""] == 20
    assert_same_results(before, changed, exact=True)


def test_a_body_whose_operators_differ_in_the_opset_stays() -> None:
    old = """
    <domain: "custom", opset_import: ["" : 12]>
    Last (x) => (y) { y = ReduceSum <axes = [1], keepdims = 1> (x) }
    """
    stays = model("y = custom.Last (x)", old, gives="float[N, 1] y")
    step = PASSES.get("inline_functions")
    assert not step(stays).modified
    assert [node.op_type for node in stays.graph] == ["Last"]
    assert [refusal.reason for refusal in step.refusals] == [
        "The body of custom::Last has ReduceSum of opset 12, which differs in opset 20"
    ]


def test_it_is_no_part_of_the_portable_pipeline() -> None:
    assert "inline_functions" not in [each.name for each in portable()]


def test_a_model_without_functions_is_left_alone() -> None:
    assert not apply("inline_functions", model("y = Relu (x)")).modified


# --- models that keep their functions -----------------------------------------------------------


def test_the_portable_passes_keep_functions_and_their_results() -> None:
    body = """
    a = Identity (x)
    b = custom.Wave <rate = 1.5> (a)
    c = Constant <value = float[1] {2.0}> ()
    d = custom.Wave <rate = 0.5> (c)
    e = Add (b, d)
    y = Identity (e)
    """
    before = model(body, WAVE)
    optimized = optimize(before)
    assert not [record.name for record in optimized.records if record.rejected]
    assert list(optimized.model.functions) == [("custom", "Wave", "")]
    assert_same_results(before, optimized.model)


def test_unused_functions_go() -> None:
    optimized = optimize(model("y = Relu (x)", WAVE))
    assert not optimized.model.functions


@pytest.mark.parametrize("engine", ["onnxruntime", "reference"])
def test_engines_run_functions(engine: str) -> None:
    before = model("y = custom.Wave <rate = 1.5> (x)", WAVE)
    inlined = apply("inline_functions", before.clone()).model
    feeds = random_feeds(signature_of(before), 1)
    results = []
    for each in (before, inlined):
        with opened(ENGINES.get(engine), each, Target()) as session:
            results.append(session.run(feeds)["y"])
    assert results[0] == pytest.approx(results[1])


def test_attach_brings_what_is_called_and_no_more() -> None:
    twice = """
    <domain: "custom", opset_import: ["" : 20, "custom" : 1]>
    Twice (x) => (y) { a = custom.Wave <rate = 1.0> (x)
                       y = custom.Wave <rate = 2.0> (a) }
    """
    stranger = WAVE.replace("Wave", "Stranger")
    known = list(model("y = Relu (x)", twice, WAVE, stranger).functions.values())
    bare = model("y = custom.Twice (x)")
    bare.graph.outputs[0].type = None
    functions.attach(bare, known)
    assert {name for _, name, _ in bare.functions} == {"Twice", "Wave"}
    assert bare.graph.outputs[0].dtype == ir.DataType.FLOAT
    invariants.check(bare)

"""Recipes: the same edits from YAML, from lines of text and from the command line; mistakes by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import graph, tag, weight
from hypothesis import given
from hypothesis import strategies as st

from modelport.commands.edit import edit as command
from modelport.errors import ModelportError
from modelport.graph import io, recipe
from modelport.graph.diff import diff
from support import Ran

Cli = Callable[..., Ran]


def network() -> ir.Model:
    model = graph(
        "c = Conv (x, w)\nr = Relu (c)\nd = Dropout (r)\ny = GlobalAveragePool (d)",
        takes="float[1,2,3,3] x",
        gives="float[1,2,1,1] y",
        w=weight(2, 2, 1, 1),
    )
    return tag(model, c="net.conv", r="net.act", d="net.drop", y="pool")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    io.save(network(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


RECIPE = """
version: 1
edits:
  - bypass: op:Dropout
  - insert_after:
      value: y
      operator: Mul
      inputs: [2.0]
  - replace: net.act LeakyRelu alpha=0.1  # the same spelling as in a command
  - set_input: {name: x, dtype: uint8, shape: 1..8x2x3x3}
  - set_weight: {value: w, file: w.npy}
"""


def test_a_recipe(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", weight(2, 2, 1, 1, seed=5))
    (tmp_path / "r.yaml").write_text(RECIPE)
    edits = recipe.load(tmp_path / "r.yaml")
    assert [each.operation for each in edits] == [
        "bypass", "insert_after", "replace", "set_input", "set_weight",
    ]  # fmt: skip
    assert edits[2].arguments == {
        "nodes": "net.act", "operator": "LeakyRelu", "attributes": {"alpha": 0.1},
    }  # fmt: skip
    made = recipe.apply(network(), edits)
    assert [node.op_type for node in made.graph] == [
        "Cast", "Conv", "LeakyRelu", "GlobalAveragePool", "Mul",
    ]  # fmt: skip
    again = tmp_path / "elsewhere" / "again.yaml"
    again.parent.mkdir()
    again.write_text(recipe.dump(edits, again.parent))
    assert "file: ../w.npy" in again.read_text()
    assert diff(made, recipe.apply(network(), recipe.load(again))).is_empty


def test_the_command_has_every_operation() -> None:
    assert set(recipe.OPERATIONS) <= set(command.__annotations__)


def test_edits_of_a_command_keep_their_order(file: Path, cli: Cli) -> None:
    out = file.parent / "o.onnx"
    saved = file.parent / "r.yaml"
    done = cli(
        "edit", file, "-o", out, "--rename", "r a", "--bypass=op:Dropout", "--rename", "a b",
        "--insert-after", "b Neg", "--save-recipe", saved, "--json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert [next(iter(each)) for each in done.json["edits"]] == [
        "rename", "bypass", "rename", "insert_after",
    ]  # fmt: skip
    assert done.json["sizes"] == 1
    second = file.parent / "o2.onnx"
    assert cli("edit", file, "-o", second, "--recipe", saved).status == 0
    assert cli("diff", out, second).status == 0
    assert cli("diff", file, out).status == 1
    assert cli("diff", file, out, "--json").json["operators"] == {"Dropout": [1, 0], "Neg": [0, 1]}


def test_an_edit_that_breaks_the_run_names_the_module(file: Path, cli: Cli) -> None:
    """ONNX's rules allow three channels into weights for two; an engine does not."""
    out = file.parent / "o.onnx"
    done = cli("edit", file, "-o", out, "--set-input", "x=1x3x3x3")
    assert done.status == 2
    assert "In module net.conv: The edited graph does not run at x=1x3x3x3" in done.stderr
    assert not out.exists()
    assert cli("edit", file, "-o", out, "--set-input", "x=1x3x3x3", "--no-check").status == 0


def test_a_size_that_the_graph_fixes_is_found_at_another_size(tmp_path: Path, cli: Cli) -> None:
    model = graph(
        "f = Reshape (x, s)\ny = MatMul (f, w)",
        takes="float[1,2,2] x", gives="float[1,3] y",
        s=np.array([1, 4]), w=weight(4, 3),
    )  # fmt: skip
    io.save(tag(model, f="head.flatten", y="head"), tmp_path / "m.onnx")
    model.graph[0].name = "flatten"
    io.save(model, tmp_path / "m.onnx")
    edits = ["--set-input", "x=1..4x2x2"]
    done = cli("edit", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", *edits)
    assert done.status == 2
    assert "In module head.flatten: " in done.stderr
    assert "The shape 's' fixes a size that is free now" in done.stderr
    edits += ["--set-weight", "s data=[0,-1]"]
    done = cli("edit", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", *edits)
    assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("- bypass: x", "the recipe is no mapping"),
        ("edits: {}", "has no list of edits"),
        ("edit: []", "has 'edit'"),
        ("version: 2\nedits: []", "has version 2. Expected 1"),
        ("edits:\n- bypas: x", "r.yaml, line 2: there is no operation 'bypas'"),
        ("edits:\n- bypas: x", "Perhaps you meant 'bypass'"),
        (
            "edits:\n- bypass: x\n- rename: {value: a, too: b}",
            "line 3: rename has no argument 'too'",
        ),
        ("edits:\n- bypass: x\n- rename: {value: a}", "line 3: rename lacks its to"),
        ("edits:\n- rename: a", "line 2: rename 'a' lacks its to. Expected VALUE TO"),
        ("edits:\n- rename: a b c", "has the word 'c' too many"),
        ("edits:\n- rename: {value: 3, to: b}", "has 3 as its value. Expected text"),
        ("edits:\n- insert_after: {value: a, operator: Relu, inputs: b}", "Expected a list"),
        ("edits:\n- insert_before: a Relu input=x", "'x' as its input. Expected a whole number"),
        ("edits:\n- bypass: x\n  remove: y", "line 2: an edit has 2 keys"),
        ("edits:\n- bypass: x\n  bypass: y", "line 3: 'bypass' stands there twice"),
        ("edits:\n- bypass", "line 2: an edit is no mapping"),
        ("edits:\n- bypass: [a, b]", "line 2: bypass is no mapping"),
        ("edits:\n- bypass: &a x\n- bypass: *a", "an alias of YAML"),
        ("edits:\n- bypass: *.conv", "line 2"),
        ("edits:\n- rename: 'a \"b'", "cannot be read"),
        ("edits:\n- set_weight: {value: w, data: !!python/object:os.system x}", "line 2"),
        ("edits: [" * 60, "nests deeper"),
        ("edits:\n\t- x", "is no YAML"),
    ],
)
def test_mistakes_are_told_by_their_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ModelportError) as caught:
        recipe.load(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_edit_that_fails_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("edits:\n- bypass: net.drop\n- bypass: net.dropp\n")
    with pytest.raises(ModelportError, match=r"r.yaml, line 3, bypass: Nothing in the graph is"):
        recipe.apply(network(), recipe.load(tmp_path / "r.yaml"))


NAMES = ("x", "c", "r", "d", "y", "w", "net", "net.act", "op:Conv", "op:*", "pool", "nobody")
TEXTS = st.sampled_from(NAMES)
EDITS = st.one_of(
    st.tuples(st.sampled_from(["bypass", "remove", "remove_output", "remove_input"]), TEXTS),
    st.tuples(
        st.sampled_from(["insert_after", "insert_before", "replace"]),
        st.builds("{} {}".format, TEXTS, st.sampled_from(["Relu", "Neg", "Transpose", "Mul"])),
    ),
    st.tuples(st.just("rename"), st.builds("{} {}".format, TEXTS, st.sampled_from("xyzw"))),
    st.tuples(st.just("add_output"), TEXTS),
    st.tuples(st.just("set_input"), st.sampled_from(["x:uint8", "x=1..4x2x3x3", "x=2x2x5x5"])),
    st.tuples(st.just("set_output"), st.sampled_from(["y:float16", "y=1x2x1x1"])),
    st.tuples(st.just("set_weight"), st.sampled_from(["w data=1", "c data=1"])),
)


@given(st.lists(EDITS, min_size=1, max_size=5))
def test_edits_are_done_whole_or_not_at_all(chosen: list[Any]) -> None:
    """Whatever is asked for: the original stays bit for bit, the result is sound and has its paths."""
    model = network()
    before = io.to_proto(model).SerializeToString(deterministic=True)
    try:
        made = recipe.apply(model, [recipe.parse(name, text) for name, text in chosen])
    except ModelportError:
        made = None
    assert io.to_proto(model).SerializeToString(deterministic=True) == before
    if made is not None:
        assert all(node.metadata_props.get("modelport.module") for node in made.graph)
        assert ir.from_proto(io.to_proto(made)) is not None

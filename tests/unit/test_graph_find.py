"""Selectors find what users call nodes and values, and offer near names where they find nothing."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from helpers import graph, tag, weight

from modelport.errors import UnknownNameError, UsageError
from modelport.graph import find
from modelport.graph.describe import describe


def network() -> ir.Model:
    model = graph(
        """
        c1 = Conv <kernel_shape = [1, 1]> (x, w)
        r1 = Relu (c1)
        c2 = Conv (r1, w)
        r2 = Relu (c2)
        s = Add (r1, r2)
        g = custom.Gate (s)
        y = Identity (g)
        """,
        takes="float[1,2,3,3] x",
        gives="float[1,2,3,3] y",
        w=weight(2, 2, 1, 1),
    )
    modules = {
        "c1": "net.a.conv1", "r1": "net.a", "c2": "net.b.conv1", "r2": "net.b", "s": "net.bb", "g": "head",
    }  # fmt: skip
    tag(model, **modules)
    for node in model.graph:
        node.name = f"n/{node.outputs[0].name}"
        if node.op_type == "Conv":
            node.metadata_props["modelport.class"] = "torch.nn.modules.conv.Conv2d"
            node.metadata_props["modelport.line"] = f"net.py:{len(node.attributes) + 7}"
    model.graph[3].metadata_props["modelport.merged"] = "net.b.norm net.b.drop"
    return model


def found(selector: str) -> list[list[str]]:
    return [[n.outputs[0].name or "" for n in place] for place in find.places(network(), selector)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("net.a", [["c1", "r1"]]),
        ("module:net.a", [["c1", "r1"]]),
        ("module:net", [["c1", "r1", "c2", "r2", "s"]]),
        ("module:=net.a", [["r1"]]),
        ("module:*.conv1", [["c1"], ["c2"]]),
        ("module:net.?", [["c1", "r1"], ["c2", "r2"]]),
        ("module:/net\\.[ab]/", [["c1", "r1"], ["c2", "r2"]]),
        ("module:net.b.norm", [["r2"]]),
        ("op:Conv", [["c1"], ["c2"]]),
        ("op:custom::Gate", [["g"]]),
        ("op:Gate", [["g"]]),
        ("op:/Relu|Add/", [["r1"], ["r2"], ["s"]]),
        ("name:n/c1", [["c1"]]),
        ("n/c1", [["c1"]]),
        ("class:Conv2d", [["c1"], ["c2"]]),
        ("class:torch.nn.modules.conv.Conv2d", [["c1"], ["c2"]]),
        ("line:net.py:8", [["c1"]]),
        ("line:net.py", [["c1"], ["c2"]]),
        ("value:s", [["s"]]),
        ("s", [["s"]]),
        ("Conv -> Relu", [["c1", "r1"], ["c2", "r2"]]),
        ("pattern:Relu->Conv->*", [["r1", "c2", "r2"]]),
        ("Relu -> Add -> custom::Gate", [["r1", "s", "g"]]),
    ],
)
def test_selectors(selector: str, expected: list[list[str]]) -> None:
    assert found(selector) == expected


@pytest.mark.parametrize(
    ("selector", "near"),
    [
        ("net.aa", "'net.a'"),
        ("op:conv", "'Conv'"),
        ("name:c1", "'n/c1'"),
        ("class:conv2", "'Conv2d'"),
        ("modul:net.a", "'module:net.a'"),
        ("line:nets.py", "net.py"),
        ("Conv -> Sigmoid -> relu", "Relu"),
    ],
)
def test_nothing_found_offers_near_names(selector: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find.places(network(), selector)
    assert f"Nothing in the graph is {selector!r}" in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize("selector", ["", "module:", "op:  ", "/(/"])
def test_selectors_that_cannot_be_meant(selector: str) -> None:
    with pytest.raises(UsageError):
        find.places(network(), selector)


def test_values() -> None:
    model = network()
    assert find.value(model, "c1").name == "c1"
    assert find.value(model, "w").name == "w", "a value's own name comes first"
    assert find.value(model, "module:net").name == "s"
    assert [value.name for value in find.values(model, "op:Relu")] == ["r1", "r2"]
    assert [value.name for value in find.values(model, "value:c*")] == ["c1", "c2"]
    with pytest.raises(UsageError, match="stands for 2 values: 'r1', 'r2'"):
        find.value(model, "op:Relu")
    with pytest.raises(UnknownNameError, match="Perhaps you meant 'c1'"):
        find.value(model, "value:c11")


def test_nodes_inside_branches_are_found() -> None:
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
    assert [node.op_type for node in find.nodes(model, "op:/Neg|Abs/")] == ["Neg", "Abs"]


def test_description_of_a_node() -> None:
    (conv, _) = find.nodes(network(), "op:Conv")
    facts = describe(conv)
    assert (facts.module, facts.line, facts.operator) == ("net.a.conv1", "net.py:8", "Conv")
    assert facts.attributes == {"kernel_shape": [1, 1]}
    source, kernel = facts.inputs
    assert source is not None
    assert kernel is not None
    assert (source.kind, source.shape) == ("input", (1, 2, 3, 3))
    assert (kernel.kind, kernel.dtype, kernel.shape) == ("weight", "float", (2, 2, 1, 1))
    array = weight(2, 2, 1, 1)
    assert kernel.minimum == pytest.approx(float(array.min()))
    assert kernel.mean == pytest.approx(float(array.mean()))
    assert "mean" in str(kernel)

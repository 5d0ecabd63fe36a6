"""Sequences that are only taken apart again, and where they must stay."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from helpers import apply, graph, tag


def model_of(body: str, takes: str = "float[2,7] x", gives: str = "float[2,3] y") -> ir.Model:
    return graph(body, takes=takes, gives=gives)


CONSTANTS = (
    "zero = Constant <value = int64 {0}> ()\n"
    "last = Constant <value = int64 {-1}> ()\n"
    "three = Constant <value = int64 {3}> ()\n"
    "list = Constant <value = int64[3] {3, 1, 3}> ()\n"
)


def test_parts_of_one_size_with_a_rest() -> None:
    model = model_of(
        f"{CONSTANTS}s = SplitToSequence <axis = 1> (x, three)\n"
        "a = SequenceAt (s, zero)\nb = SequenceAt (s, last)\nc = Relu (a)\ny = Add (c, b)"
    )
    applied = apply("split_sequences", tag(model, s="neck"), exact=True)
    assert [op for op in applied.operators if op != "Constant"] == ["Split", "Relu", "Add"]
    split = next(node for node in applied.model.graph if node.op_type == "Split")
    assert split.inputs[1].const_value.numpy().tolist() == [3, 3, 1]
    assert split.metadata_props["modelport.module"] == "neck"


def test_listed_sizes_and_a_part_that_is_an_output() -> None:
    model = model_of(
        f"{CONSTANTS}s = SplitToSequence <axis = -1> (x, list)\ny = SequenceAt (s, last)"
    )
    applied = apply("split_sequences", model, exact=True)
    assert [op for op in applied.operators if op != "Constant"] == ["Split"]
    assert applied.model.graph.outputs[0].name == "y"


def test_a_part_taken_twice() -> None:
    model = model_of(
        f"{CONSTANTS}s = SplitToSequence <axis = 1> (x, list)\n"
        "a = SequenceAt (s, zero)\nb = SequenceAt (s, zero)\ny = Sub (a, b)"
    )
    applied = apply("split_sequences", model, exact=True)
    assert [op for op in applied.operators if op != "Constant"] == ["Split", "Sub"]


@pytest.mark.parametrize(
    ("body", "takes", "reason"),
    [
        (
            f"{CONSTANTS}s = SplitToSequence <axis = 1> (x, three)\ny = SequenceAt (s, zero)",
            "float[2,N] x",
            "the sizes of the parts are not known",
        ),
        (
            f"{CONSTANTS}i = Cast <to = 7> (x)\nj = ReduceMax <keepdims = 0> (i)\n"
            "k = Clip (j, zero, zero)\n"
            "s = SplitToSequence <axis = 1> (x, list)\ny = SequenceAt (s, k)",
            "float[2,7] x",
            "a part is taken by an index that is computed",
        ),
    ],
)
def test_left_alone(body: str, takes: str, reason: str) -> None:
    applied = apply("split_sequences", model_of(body, takes))
    assert "SplitToSequence" in applied.operators
    assert [refusal.reason for refusal in applied.refusals] == [reason]


def test_other_uses_of_the_sequence_are_no_match() -> None:
    model = model_of(
        f"{CONSTANTS}s = SplitToSequence <axis = 1> (x, list)\n"
        "a = SequenceAt (s, zero)\nn = SequenceLength (s)\nm = Cast <to = 1> (n)\ny = Mul (a, m)"
    )
    applied = apply("split_sequences", model)
    assert "SplitToSequence" in applied.operators
    assert applied.refusals == []

"""A GatherND that takes everything in its order is a Reshape; any other stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, graph

from modelport.passes import PASSES
from modelport.types import Array

NAME = "reshape_gathers"


def everything(*sizes: int) -> Array:
    return np.stack(np.indices(sizes), -1).astype(np.int64)


def gather(places: Array, takes: str = "float[2,3,4] x", gives: str = "float[A,B,C] y") -> ir.Model:
    return graph("y = GatherND(x, places)", takes=takes, gives=gives, places=places)


WHOLE = {
    "all": (everything(2, 3, 4).reshape(24, 3), "float[24] y"),
    "with more axes": (everything(2, 3, 4).reshape(1, 4, 6, 3), "float[1,4,6] y"),
    "first axes": (everything(2, 3), "float[2,3,4] y"),
    "first axis": (everything(2)[None], "float[1,2,3,4] y"),
    "from the end": (everything(2, 3) - [2, 3], "float[2,3,4] y"),
}


@pytest.mark.parametrize("form", WHOLE)
def test_everything_is_a_reshape(form: str) -> None:
    places, gives = WHOLE[form]
    applied = apply(NAME, gather(places, gives=gives))
    assert [node.op_type for node in applied.model.graph] == ["Reshape"]


PARTS = {
    "another order": everything(2, 3)[::-1].copy(),
    "twice": np.concatenate([everything(2, 3)] * 2),
    "less": everything(2, 2),
    "swapped": np.ascontiguousarray(everything(2, 3).transpose(1, 0, 2)),
}


@pytest.mark.parametrize("form", PARTS)
def test_parts_stay(form: str) -> None:
    model = gather(PARTS[form])
    assert not PASSES.get(NAME)(model).modified
    (refusal,) = PASSES.get(NAME).refusals
    assert refusal.reason == "it does not take everything in its order"


def test_free_sizes_stay() -> None:
    model = gather(everything(2, 3), takes="float[N,3,4] x")
    assert not PASSES.get(NAME)(model).modified
    (refusal,) = PASSES.get(NAME).refusals
    assert "are not known" in refusal.reason


def test_batches_stay() -> None:
    model = graph("y = GatherND<batch_dims = 1>(x, places)", takes="float[2,3] x",
                  gives="float[2,3] y", places=np.stack([everything(3)] * 2))  # fmt: skip
    assert not PASSES.get(NAME)(model).modified


def test_indices_that_are_computed_stay() -> None:
    model = graph("y = GatherND(x, p)", takes="float[2,3] x, int64[2,3,2] p", gives="float[2,3] y")
    assert not PASSES.get(NAME)(model).modified
    assert PASSES.get(NAME).refusals == []

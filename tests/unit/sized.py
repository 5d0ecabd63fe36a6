"""Runs graphs with free sizes at chosen ones; `helpers` knows only the smallest."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from helpers import Applied, apply, by_onnxruntime, by_reference

from modelport.feeds import random_array
from modelport.graph.query import signature_of


def feeds_at(model: ir.Model, **sizes: int) -> dict[str, Any]:
    """Random arrays in which each free size has the number given for its name."""
    generator = np.random.default_rng(3)
    feeds = {}
    for spec in signature_of(model).inputs:
        shape = tuple(
            size if isinstance(size, int) else sizes[str(size.name)] for size in spec.shape
        )
        feeds[spec.name] = random_array(spec, shape, generator)
    return feeds


def apply_at(
    name: str, model: ir.Model, *others: dict[str, int], exact: bool = True, by: Any = None
) -> Applied:
    """`helpers.apply`, and equal results at other sizes too."""
    before = model.clone()
    applied = apply(name, model, exact=exact, by=by)
    for sizes in others:
        feeds = feeds_at(before, **sizes)
        for run in (by_reference, by_onnxruntime) if by is None else by:
            expected, found = run(before, feeds), run(model, feeds)
            for key, array in expected.items():
                assert found[key].shape == array.shape, (key, sizes)
                np.testing.assert_allclose(found[key], array, rtol=1e-5, atol=1e-6)
    return applied

"""Proves an export: on other feeds than it was traced with, and at another size where sizes are free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.engines.scratch import opened
from modelport.errors import VerificationError
from modelport.frontends.source import LoadedSource
from modelport.types import Feeds, Outputs, Target
from modelport.verify.compare import compare, run_all


def prove_export(loaded: LoadedSource, graph: ir.Model, oracle: Session) -> None:
    """Compares the exported graph with the source on two random feeds and, where sizes are free, more.

    A random feed reaches what real data may not, and no constant that was baked in at tracing can
    match two of them.

    Raises:
        VerificationError: where they differ, or where the outputs do not move with the inputs.
    """
    feeds = [loaded.example_feeds(seed) for seed in (1, 2)]
    feeds += loaded.other_sizes(3)
    want = run_all(oracle, feeds)
    with opened(ENGINES.get("onnxruntime"), graph, Target()) as session:
        got = run_all(session, feeds)
        signature = session.signature
    for feed, one, other in zip(feeds, want, got, strict=True):
        fidelity = compare([one], [other], signature, "fp32", classes=False)
        if not fidelity.passed:
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            raise VerificationError(
                f"The exported graph differs from the source for {sizes}: "
                f"{'; '.join(fidelity.reasons)}",
                hint="Something was fixed while tracing: look for Python numbers computed from "
                "tensors, and for random operations",
            )
    _demand_movement(loaded, feeds, want)


def _demand_movement(
    loaded: LoadedSource, feeds: Sequence[Feeds], outputs: Sequence[Outputs]
) -> None:
    """Equality proves nothing of a network whose output is the same for every input."""
    first, second = outputs[0], outputs[1]
    if feeds[0] and all(np.array_equal(first[name], second[name]) for name in first):
        loaded.notes.append(
            "two different random inputs gave the same outputs, so equality with the source proves "
            "little; are the weights loaded?"
        )

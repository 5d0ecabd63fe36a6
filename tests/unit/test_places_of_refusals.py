"""A refusal says where in the user's own modules the cause is, whatever the engine knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir
import pytest

from modelport.engines.null import Null
from modelport.errors import EngineError
from modelport.graph import provenance
from modelport.types import Artifact, Feeds, Target

MODEL = """
<ir_version: 10, opset_import: ["" : 24]>
main (float[2, 3, 3] x) => (float[2] y) {
    a = Swish(x)
    b = Mul(a, a)
    y = Det(b)
}
"""


class Refusing(Null):
    """Fails with what a test gives it."""

    error: ClassVar[Exception]

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        raise self.error


def refused(error: Exception, folder: Path) -> str:
    model = ir.from_onnx_text(MODEL)
    for node, path in zip(model.graph, ("act", "square", "head.volume"), strict=True):
        node.metadata_props[provenance.MODULE] = path
        node.name = f"node_{node.op_type}"
    Refusing.error = error
    with pytest.raises(EngineError) as caught:
        Refusing().compile(model, Target(), folder)
    return str(caught.value)


def test_operators_are_found(tmp_path: Path) -> None:
    error = EngineError("it lacks Det", hint="Choose another engine", operators=["Det"])
    said = refused(error, tmp_path)
    assert said == "In module head.volume: it lacks Det. Choose another engine."


def test_several_are_told_apart_and_passes_help(tmp_path: Path) -> None:
    error = EngineError("it lacks Det, Swish", operators=["Det", "Swish", "torch.where", "Det"])
    assert refused(error, tmp_path) == (
        "In module head.volume: it lacks Det, Swish. Det is in head.volume; Swish is in act. "
        "Run first: modelport optimize --also decompose_swish."
    )


@pytest.mark.parametrize("quoted", ["'node_Det'", '"node_Det"', "`y`", 'loc("node_Det")'])
def test_nodes_and_values_in_quotes_are_found(quoted: str, tmp_path: Path) -> None:
    said = refused(RuntimeError(f"cannot lower {quoted}"), tmp_path)
    assert said == f"In module head.volume: null failed while compiling: cannot lower {quoted}."


@pytest.mark.parametrize("words", ["no memory for 'z'", "it's out of memory", "Mul by node_Det"])
def test_nothing_is_made_up(words: str, tmp_path: Path) -> None:
    assert refused(RuntimeError(words), tmp_path) == f"null failed while compiling: {words}."


def test_a_place_that_is_known_stays(tmp_path: Path) -> None:
    error = EngineError("it lacks Det", module_path="other", operators=["Det"])
    assert refused(error, tmp_path) == "In module other: it lacks Det."

"""What an engine lacks is told before it converts: operator, module, and what would help."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.errors import EngineError
from modelport.graph import provenance
from modelport.optimization import optimize
from modelport.passes import PASSES
from modelport.types import Target

MODEL = """
<ir_version: 10, opset_import: ["" : 24]>
main (float[2, 3, 3] x) => (float[2] y) {
    a = Swish(x)
    b = Mul(a, a)
    y = Det(b)
}
"""


def model() -> ir.Model:
    made = ir.from_onnx_text(MODEL)
    for node, path in zip(made.graph, ("act", "square", "head.volume"), strict=True):
        node.metadata_props[provenance.MODULE] = path
    return made


@pytest.fixture
def openvino() -> Engine:
    engine = ENGINES.get("openvino")
    if reason := engine.available():
        pytest.skip(reason)
    return engine


def test_all_lacking_operators_are_named_with_their_modules(
    openvino: Engine, tmp_path: Path
) -> None:
    with pytest.raises(EngineError) as caught:
        openvino.compile(model(), Target(), tmp_path)
    said = str(caught.value)
    assert said.startswith("In module act: openvino failed while compiling: it lacks Swish, Det. ")
    assert "Det (in head.volume): " in said
    assert said.endswith("Run first: modelport optimize --also decompose_swish.")
    assert list(tmp_path.iterdir()) == []


def test_the_hint_holds(openvino: Engine, tmp_path: Path) -> None:
    """After the pass that it names only the other operator is left to complain of."""
    made = optimize(model(), check=False, also=["decompose_swish"]).model
    with pytest.raises(EngineError) as caught:
        openvino.compile(made, Target(), tmp_path)
    assert "it lacks Det. " in str(caught.value)
    assert "with a rewrite or a function, or choose another engine" in str(caught.value)


def test_passes_of_an_engine_can_be_asked_for(openvino: Engine) -> None:
    plain, fitted = (
        optimize(model(), check=False, engine=engine).model for engine in (None, "openvino")
    )
    assert "Swish" in {node.op_type for node in plain.graph}
    assert "Swish" not in {node.op_type for node in fitted.graph}


@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES.get(name).rules.operators])
def test_what_a_pass_can_take_apart_is_taken_apart(name: str) -> None:
    """Else a deployment would be refused for what a pass of ours can do."""
    rules = ENGINES.get(name).rules
    helpful = {
        each
        for each in PASSES
        if any(
            rules.lacks(operator, "", rules.opsets[1]) for operator in PASSES.get(each).takes_apart
        )
    }
    if name == "rknn":  # it lacks the Min that comes of it too
        helpful.discard("decompose_mish")
    assert helpful <= set(rules.legalize)


def test_a_library_may_have_what_the_engine_lacks(
    openvino: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is about the engine alone, so nothing is refused beforehand then."""
    from modelport.graph import operators

    made = model()
    operators.declare(made, {"openvino": ["/no/such/library.so"]})
    with pytest.raises(EngineError, match="no/such/library"):
        openvino.compile(made, Target(), tmp_path)


OLD_MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
main (float[1, 3, 8, 8] x) => (float[1, 3] y) {
    [relu] a = Relu(x)
    [square] b = Mul(a, a)
    [det] y = Det(b)
}
"""


@pytest.mark.parametrize("name", ["ncnn", "tvm", "iree", "qnn", "rknn", "tensorrt-rtx", "caffe"])
def test_a_converter_that_finds_out_itself_tells_the_module_too(name: str, tmp_path: Path) -> None:
    engine = ENGINES.get(name)
    if reason := engine.available():
        pytest.skip(reason)
    made = ir.from_onnx_text(OLD_MODEL)
    for node, path in zip(made.graph, ("act", "square", "head.volume"), strict=True):
        node.metadata_props[provenance.MODULE] = path
    with pytest.raises(EngineError) as caught:
        engine.compile(made, Target(precision=engine.precisions[0]), tmp_path)
    said = str(caught.value)
    assert "head.volume" in said
    assert "square" not in said
    assert "--engines" in said or "rewrite" in said


def test_free_sizes_are_refused_where_an_engine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ENGINES.get("onnxruntime")
    monkeypatch.setattr(type(engine), "rules", replace(engine.rules, free_sizes=False))
    made = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 20]>\n'
        "main (float[n, 4] x) => (float[n, 4] y) { y = Relu(x) }"
    )
    with pytest.raises(EngineError) as caught:
        engine.compile(made, Target(), tmp_path)
    assert "onnxruntime takes fixed sizes only, and x: float32 " in str(caught.value)
    assert "Give numbers in --input" in str(caught.value)

"""Planning and compiling variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from modelport.engines import ENGINES
from modelport.errors import UsageError
from modelport.types import Target
from modelport.variants import Plan, compile_all, plan

MODEL = """
    <ir_version: 10, opset_import: ["" : 20]>
    main (float[1, 4] x) => (float[1, 4] y) {
        a = Identity (x)
        y = Relu (a)
    }
"""


def test_passes_that_an_engine_asks_for_run_before_its_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ENGINES.get("null")
    seen: list[ir.Model] = []
    compiler = type(engine)._compile

    def spy(self, model, target, directory, calibration):
        seen.append(model)
        return compiler(self, model, target, directory, calibration)

    monkeypatch.setattr(type(engine), "_compile", spy)
    wanted = replace(engine.rules, legalize=("remove_identities",))
    monkeypatch.setattr(type(engine), "rules", wanted)
    model = ir.from_onnx_text(MODEL)
    (compiled,) = compile_all(model, [Plan("null", Target())], [], tmp_path, lambda _: None)
    assert compiled.problem is None
    assert [node.op_type for node in seen[0].graph] == ["Relu"]
    assert [node.op_type for node in model.graph] == ["Identity", "Relu"], "the original stays"


def test_plan_takes_every_combination() -> None:
    names = [item.name for item in plan(["onnxruntime", "openvino"], ["fp32", "int8"], threads=1)]
    assert names == [
        "onnxruntime-fp32", "onnxruntime-int8", "onnxruntime-int8-mixed",
        "openvino-fp32", "openvino-fp32-direct", "openvino-int8", "openvino-int8-mixed",
    ]  # fmt: skip


def test_plan_without_a_program_has_no_direct_ways() -> None:
    names = [item.name for item in plan(["openvino"], ["fp32", "int8"], threads=1, direct=False)]
    assert names == ["openvino-fp32", "openvino-int8", "openvino-int8-mixed"]


def test_plan_refuses_unknown_names() -> None:
    with pytest.raises(UsageError, match="There is no precision 'fp4'"):
        plan(None, ["fp4"], threads=0)
    with pytest.raises(UsageError, match=r"There is no engine named 'onnxruntme'.*onnxruntime"):
        plan(["onnxruntme"], None, threads=0)

"""Qualcomm's QNN: context binaries for the HTP of Snapdragon chips, which x86 emulates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.engines.qnn.chips import chip_of
from modelport.types import Artifact, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Qnn(ConvertingEngine):
    """`Target.device` names the chip, such as `sm8650`, the default, or `sc8380xp`.

    The whole graph runs on the HTP: nothing falls back to the CPU. On x86 the emulator gives the
    numbers of the chip, not its speed.
    """

    name: ClassVar[str] = "qnn"
    package: ClassVar[str | None] = "onnxruntime-qnn"
    module: ClassVar[str | None] = "onnxruntime_qnn"
    also_imports: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    precisions: ClassVar[tuple[str, ...]] = ("fp16", "int8")
    deployable: ClassVar[bool] = False
    emulates: ClassVar[str] = "the HTP of a Snapdragon chip"
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(9, 22),
        quantization="own",
        free_sizes=False,
        legalize=("inline_functions",),
        source="https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html",
        operators=Path(__file__).with_name("operators.json"),
    )

    def runs_here(self) -> bool:
        """Never: the emulator keeps a state for its process, which one session leaves to the next."""
        return False

    def refuses(self, target: Target) -> str | None:
        reason = super().refuses(target)
        if reason is None and target.precision == "fp16":
            chip = chip_of(target.device)
            if not chip.has_floats:
                reason = f"the HTP of {chip.name} computes with integers alone; give it int8"
        return reason

    def settings(self, model: ir.Model | None, target: Target) -> dict[str, Any]:
        """The HTP takes scales of LayerNormalization in uint8 alone."""
        nodes = [] if model is None else model.graph.all_nodes()
        norms = [node for node in nodes if node.op_type == "LayerNormalization"]
        return {"in_uint8": [norm.inputs[1].name for norm in norms if norm.inputs[1] is not None]}

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.qnn.convert import convert

        return convert(job)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.qnn.session import QnnSession

        return QnnSession(artifact)

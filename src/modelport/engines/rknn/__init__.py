"""RKNN: models for the NPUs of Rockchip, which the toolkit simulates on x86."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.types import Artifact, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir


class Rknn(ConvertingEngine):
    """`Target.device` is the platform, `rk3588` unless it says otherwise.

    The board needs `model.rknn` alone. The toolkit does not simulate that file, only what it has just
    built; so an artifact keeps what it was built from too, and a session builds it again.
    """

    name: ClassVar[str] = "rknn"
    package: ClassVar[str | None] = "rknn-toolkit2"
    module: ClassVar[str | None] = "rknn"
    also_imports: ClassVar[tuple[str, ...]] = ("onnx",)
    precisions: ClassVar[tuple[str, ...]] = ("fp16", "int8")
    deployable: ClassVar[bool] = False
    emulates: ClassVar[str] = "the NPU of a Rockchip board"
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    rules: ClassVar[Rules] = Rules(
        opsets=(12, 19),
        quantization="own",
        free_sizes=False,
        legalize=("inline_functions", "decompose_swish", "lower_opset_18"),
        source="https://github.com/airockchip/rknn-toolkit2/tree/master/doc",
        operators=Path(__file__).with_name("operators.json"),
    )

    def available(self) -> str | None:
        reason = super().available()
        if reason is None and find_spec("torch") is None:
            reason = 'rknn-toolkit2 imports torch, which is missing: pip install "modelport[torch]"'
        return reason

    def runs_here(self) -> bool:
        """Never: the toolkit prints, and leaves its settings in the environment of its process."""
        return False

    def convert(self, job: Conversion) -> Converted:
        from modelport.engines.rknn.convert import convert

        return convert(job)

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.engines.rknn.lower import lowered

        legal = lowered(model, self.rules.opsets[1], self.rules.legalize)
        return super()._compile(legal, target, directory, calibration)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.rknn.session import RknnSession

        return RknnSession(artifact)

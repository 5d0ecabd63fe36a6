"""Caffe: prototxt and caffemodel, which the toolchains of older NPUs read.

Nothing of Caffe is needed to write them. To run what was written, and to compare it with its source, there
is OpenCV 4; version 5 no longer reads Caffe, so it has an environment of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelport.engines.base import Rules, Session
from modelport.engines.environments import environment_of
from modelport.engines.preparing import Prepared, Prepares
from modelport.types import Artifact, Blob, Feeds, Target

if TYPE_CHECKING:
    import onnx_ir as ir

READERS = tuple(
    f"opencv{contrib}-python{headless}"
    for contrib in ("", "-contrib")
    for headless in ("", "-headless")
)
"""Distributions of OpenCV."""


class Caffe(Prepares):
    name: ClassVar[str] = "caffe"
    package: ClassVar[str | None] = "opencv-python-headless"
    module: ClassVar[str | None] = "cv2"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    requirements: ClassVar[Path | None] = Path(__file__).with_name("requirements.txt")
    layered: ClassVar[bool] = False
    rules: ClassVar[Rules] = Rules(
        opsets=(13, 18),
        free_sizes=False,
        legalize=("inline_functions", "lower_opset_18"),
        source="https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto",
    )

    def available(self) -> str | None:
        if self.runs_here() or self.own_python() is not None:
            return None
        return f"{self.package} is not installed: modelport engines install {self.name}"

    def runs_here(self) -> bool:
        """Whether the OpenCV of this installation still reads Caffe."""
        return _has_module("cv2") and 0 < _major() < 5

    def version(self) -> str:
        if self.own_python() is not None:
            own = environment_of(self.name, self.requirements, self.layered)
            return own.version_of(self.package or "")
        return _opencv() if self.runs_here() else ""

    def write_inputs(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Prepared:
        from modelport.engines.caffe.compile import write

        made = write(model, directory)
        return Prepared((), made.files, tuple(made.files.values()), _NOTES)

    def _compile(
        self, model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
    ) -> Artifact:
        from modelport.engines.caffe.compile import write
        from modelport.graph.query import signature_of

        made = write(self._legal(model), directory)
        return Artifact(
            engine=self.name,
            signature=signature_of(model),
            files={role: Blob(directory / name) for role, name in made.files.items()},
            options={"shapes": made.shapes},
        )

    def _load(self, artifact: Artifact, threads: int) -> Session:
        from modelport.engines.caffe.session import CaffeSession

        return CaffeSession(artifact, threads)


_NOTES = (
    "Layers are those of Caffe 1.0; Permute, where there is one, is of its SSD branch",
    "Caffe rounds the number of pooling windows up: where the graph does not, Slice cuts off the rest and "
    "Silence takes it",
    "The input layer has the sizes of the graph, and its values are what the graph takes: means and scales "
    "that a toolchain applies come before",
)


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _opencv() -> str:
    for name in READERS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _major() -> int:
    return int((_opencv() or "0").partition(".")[0])

"""Converts ONNX for a Rockchip NPU, quantizing on the way where that is asked for.

Quantizing has two steps in the toolkit: the first writes the graph with its ranges, the second builds
it. What the first wrote is kept, for the simulator.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx  # noqa: TID251  (the toolkit keeps its graph so)

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.rknn.toolkit import NAME, Toolkit, inside, platform_of
from modelport.errors import EngineError

MODEL = "model.rknn"
NORM = "exNorm"
"""What the toolkit makes of LayerNormalization."""

FLOATS = {"simulation.onnx": "simulation.onnx"}
QUANTIZED = {name: name for name in ("simulation.model", "simulation.data", "simulation.cfg")}
"""Files for the simulator, under roles of the same name."""


def convert(job: Conversion) -> Converted:
    _demand_types(job)
    platform = platform_of(job.target.device)
    directory = job.directory.resolve()
    with tempfile.TemporaryDirectory(prefix="modelport-") as scratch, inside(Path(scratch)):
        floats = job.target.precision == "fp16"
        toolkit = _built_in_floats(job, platform) if floats else _built_quantized(job, platform)
        try:
            _demand_kernels(toolkit.said)
            toolkit.do("writing", lambda: toolkit.model.export_rknn(MODEL))
        finally:
            toolkit.close()
        simulation = FLOATS if floats else QUANTIZED
        for name in (MODEL, *simulation):
            shutil.move(name, directory / name)
    return Converted(
        {"model": MODEL, **simulation}, {"platform": platform, "precision": job.target.precision}
    )


def _built_in_floats(job: Conversion, platform: str) -> Toolkit:
    shutil.copyfile(job.source, "simulation.onnx")
    toolkit = Toolkit(platform)
    toolkit.do("compiling", lambda: toolkit.model.load_onnx("simulation.onnx"))
    toolkit.do("compiling", lambda: toolkit.model.build(do_quantization=False))
    return toolkit


def _built_quantized(job: Conversion, platform: str) -> Toolkit:
    shutil.copyfile(job.source, "simulation.onnx")
    dataset = _write_dataset(job)
    first = Toolkit(platform)
    try:
        first.do("compiling", lambda: first.model.load_onnx("simulation.onnx"))
        first.do("quantizing", lambda: first.model.hybrid_quantization_step1(dataset=dataset))
    finally:
        first.close()
    settings = Path("simulation.quantization.cfg").rename("simulation.cfg")
    _keep_in_floats(settings, residuals(Path("simulation.model")))
    second = built_again(Path())
    second.said = first.said + second.said
    return second


def _keep_in_floats(settings: Path, values: Sequence[str]) -> None:
    """Names values of the toolkit's own graph that are to be float16."""
    if not values:
        return
    head, _, rest = settings.read_text(encoding="utf-8").partition("\n")
    if head.strip() != "custom_quantize_layers: {}":
        raise EngineError(f"{NAME} failed while quantizing: its settings begin with {head!r}")
    lines = ["custom_quantize_layers:", *(f"    {json.dumps(name)}: float16" for name in values)]
    settings.write_text("\n".join([*lines, rest]), encoding="utf-8")


def residuals(graph: Path) -> list[str]:
    """Sums and norms of a transformer: with 8 bits for what they add up to, little is left of one.

    A graph without LayerNormalization has none; its sums bear 8 bits well.
    """
    nodes = onnx.load(str(graph)).graph.node
    if not any(node.op_type == NORM for node in nodes):
        return []
    return [node.output[0] for node in nodes if node.op_type in (NORM, "Add")]


def built_again(folder: Path) -> Toolkit:
    """The second step, from what the first wrote into that folder."""
    paths = {name: str(folder / name) for name in QUANTIZED}
    toolkit = Toolkit(None)
    toolkit.do(
        "compiling",
        lambda: toolkit.model.hybrid_quantization_step2(
            model_input=paths["simulation.model"],
            data_input=paths["simulation.data"],
            model_quantization_cfg=paths["simulation.cfg"],
        ),
    )
    return toolkit


def _write_dataset(job: Conversion) -> str:
    """A list with one line for each feed: a file for each input, in their order."""
    feeds = job.calibration()
    if not feeds:
        raise EngineError(
            f"{NAME} quantizes by itself, and there are no calibration feeds",
            hint="Point --calibration at a folder of real inputs",
        )
    lines = []
    for index, feed in enumerate(feeds):
        names = []
        for place, spec in enumerate(job.signature.inputs):
            names.append(f"feed-{index}-{place}.npy")
            np.save(names[-1], feed[spec.name])
        lines.append(" ".join(names))
    Path("dataset.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "dataset.txt"


def _demand_types(job: Conversion) -> None:
    """The toolkit makes float32 of wider numbers without a word."""
    for spec in (*job.signature.inputs, *job.signature.outputs):
        if spec.dtype in ("float64", "uint64"):
            raise EngineError(
                f"{NAME} has no {spec.dtype}, which {spec.name} is",
                hint="Export the model with float32 inputs and outputs",
            )


def _demand_kernels(said: str) -> None:
    """An operator without a kernel becomes a custom one, which no board has, and the build succeeds."""
    found = re.findall(r"No lowering found for: (.*?), node type = (\w+)", said)
    if found:
        kinds = ", ".join(dict.fromkeys(kind for _, kind in found))
        places = ", ".join(f"{kind} {name!r}" for name, kind in dict.fromkeys(found))
        raise EngineError(
            f"{NAME} failed while compiling: the NPU has no kernel for {kinds}: {places}",
            hint="Compose it of other operators with a rewrite, or choose another engine with "
            "--engines",
            operators=[kind for _, kind in found],
        )

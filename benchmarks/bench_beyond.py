"""What a graph optimiser can do and an engine cannot: merged branches, folded preprocessing, Focus, heads.

    scripts/bench beyond

Each case is one network in several forms that answer alike; all forms run in turn in one process, on one
thread, and processor time is taken.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from harness import ROOT, publish
from optimizer_runs.measure import _latencies, _onnxruntime, _openvino, _plainly
from optimizer_runs.subjects import _module, _quiet

import modelport
from modelport.deployment.edits import EDITS, Draft
from modelport.graph import io
from modelport.runtime import transforms

YOLOX = ROOT.parent / "shared" / "data" / "models" / "yolox_nano.onnx"

Form = tuple[Path, Mapping[str, Any]]
"""A file, and what it is fed with."""


def exported(module: torch.nn.Module, side: int, path: Path) -> Path:
    x = torch.rand(1, 3, side, side)
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module, (x,), str(path), dynamo=True, optimize=False, external_data=False,
            verbose=False, input_names=["x"], output_names=["y"],
        )  # fmt: skip
    return path


def optimized(source: Path, target: Path, *, without: tuple[str, ...] = ()) -> Path:
    from modelport.optimization import run_unverified
    from modelport.passes.pipelines import portable

    passes = [step for step in portable() if step.name not in without]
    io.save(run_unverified(io.load(source), passes).model, target)
    return target


def branches(name: str, folder: Path) -> dict[str, Form]:
    """Merged on the graph, beside the library's own merging of the module before the export."""
    module = _module(name, 224)
    import timm.utils  # after the zoo has made torchvision importable

    by_hand = timm.utils.reparameterize_model(copy.deepcopy(module))
    raw = exported(module, 224, folder / "raw.onnx")
    hand = exported(by_hand, 224, folder / "hand.onnx")
    feeds = {"x": picture()}
    return {
        "as exported": (raw, feeds),
        "optimised, branches left": (
            optimized(raw, folder / "left.onnx", without=("merge_branches",)),
            feeds,
        ),
        "merged in PyTorch by hand, optimised": (optimized(hand, folder / "byhand.onnx"), feeds),
        "optimised, branches merged": (optimized(raw, folder / "ours.onnx"), feeds),
    }


def pixels(folder: Path) -> dict[str, Form]:
    """uint8 in; the normalisation stands in the graph, or is folded into the first convolution."""
    raw = exported(_module("timm/mobilenetv2_100", 224), 224, folder / "float.onnx")
    steps = transforms.imagenet()
    edit = EDITS.get("pixels_in")
    source = modelport.Source(None, transforms=steps)
    made = edit.apply(Draft(io.load(raw), source)).draft.model
    io.save(made, folder / "pixels.onnx")
    shown = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    fold = ("fold_batchnorm_forward", "fold_affine")
    return {
        "optimised, float in, normalised outside": (
            optimized(raw, folder / "ours_float.onnx"),
            {"x": normalised(shown)},
        ),
        "uint8 in, normalisation left in the graph": (
            optimized(folder / "pixels.onnx", folder / "left.onnx", without=fold),
            {"x": shown},
        ),
        "uint8 in, normalisation folded": (
            optimized(folder / "pixels.onnx", folder / "folded.onnx"),
            {"x": shown},
        ),
    }


def normalised(shown: Any) -> Any:
    mean, std = np.array(transforms.IMAGENET_MEAN), np.array(transforms.IMAGENET_STD)
    return ((shown / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)


def focus(folder: Path) -> dict[str, Form]:
    graph = io.load(YOLOX)
    name = graph.graph.inputs[0].name or ""
    sizes = [size if isinstance(size, int) else 416 for size in graph.graph.inputs[0].shape or ()]
    feeds = {name: np.random.default_rng(0).uniform(0, 255, sizes).astype(np.float32)}
    return {
        "as it is": (YOLOX, feeds),
        "optimised, slices left": (
            optimized(YOLOX, folder / "left.onnx", without=("fold_focus",)),
            feeds,
        ),
        "optimised, slices folded": (optimized(YOLOX, folder / "ours.onnx"), feeds),
    }


def picture() -> Any:
    return np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)


CASES: dict[str, Callable[[Path], dict[str, Form]]] = {
    "RepVGG-A0": lambda folder: branches("timm/repvgg_a0", folder),
    "MobileOne-S0": lambda folder: branches("timm/mobileone_s0", folder),
    "MobileNetV2, preprocessing": pixels,
    "YOLOX-Nano, Focus": focus,
}


def rows(name: str, forms: Mapping[str, Form]) -> list[str]:
    files = {form: path for form, (path, _) in forms.items()}
    answers = {form: _plainly(path, feeds) for form, (path, feeds) in forms.items()}
    first = next(iter(answers.values()))
    times = {}
    for engine, make in (("ORT", _onnxruntime), ("OpenVINO", _openvino)):

        def opened(path: Path, _: Any, make: Any = make) -> Any:
            form = next(form for form, file in files.items() if file == path)
            return make(path, forms[form][1])

        times[engine] = _latencies(opened, files, {})
    lines = []
    for form, path in files.items():
        error = max(
            float(np.abs(a - b).max() / np.abs(a).max())
            for a, b in zip(first, answers[form], strict=True)
        )
        nodes = sum(node.op_type != "Constant" for node in ir.load(path).graph.all_nodes())
        cells = [f"{name}: {form}", str(nodes)]
        for engine in ("ORT", "OpenVINO"):
            base, own = next(iter(times[engine].values())), times[engine][form]
            cells += [f"{own:.2f}", f"{base / own:.2f}"]
        lines.append(f"| {' | '.join([*cells, f'{error:.0e}'])} |")
    return lines


def main() -> None:
    lines = [
        "Times as fast as the first form of each case; the error is the largest difference from its outputs, "
        "over their largest value, both run in ONNX Runtime without its own optimisations.",
        "",
        "| case | nodes | ORT ms | times | OpenVINO ms | times | error |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, make in CASES.items():
        if name.startswith("YOLOX") and not YOLOX.exists():
            print(f"{name}: {YOLOX.name} is not here")
            continue
        with tempfile.TemporaryDirectory() as folder:
            lines += rows(name, make(Path(folder)))
        print("\n".join(lines[-4:]), flush=True)
    publish("beyond", "What engines do not do themselves", lines, threads=1)


if __name__ == "__main__":
    main()

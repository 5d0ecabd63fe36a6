"""The end of a network left to the decode step: from a ready tensor to the answer, both included.

    scripts/bench heads

Each case is one network deployed as it is and with an edit. All forms run in turn in one process; answers
are compared pixel by pixel, or object by object.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import THREADS, in_turn, photos, publish
from runtime_runs.segmentation import MEAN, SIDE, STD, network
from torch import Tensor, nn

import modelport
from modelport import transforms

STEPS = [
    transforms.Decode(),
    transforms.Resize((SIDE, SIDE)),
    transforms.Normalize(mean=tuple(MEAN.tolist()), std=tuple(STD.tolist())),
    transforms.Layout(),
]


class Labels(nn.Module):
    """The class of each pixel, as many segmenters are exported."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)["out"].argmax(1)


class Rows(nn.Module):
    """A detector's head on the same backbone: sigmoid scores of 80 classes and boxes, as rows of places."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = backbone
        self.boxes, self.scores = nn.Conv2d(40, 4, 1), nn.Conv2d(40, 80, 1)
        nn.init.constant_(self.scores.bias, -4.0)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.backbone(image)["low"]
        rows = [part(seen).flatten(2).transpose(1, 2) for part in (self.boxes, self.scores)]
        return rows[0].exp(), rows[1].sigmoid()


def source(model: nn.Module, task: str, names: list[str], **parameters: Any) -> modelport.Source:
    return modelport.Source(
        model.eval(), inputs=f"image=1x3x{SIDE}x{SIDE}", output_names=names, transforms=STEPS,
        task=task, parameters=parameters,
    )  # fmt: skip


def segmenter() -> modelport.Source:
    return source(network(), "semantic_segmentation", ["out"], output="out")


def labeller() -> modelport.Source:
    return source(Labels(network()), "semantic_segmentation", ["labels"], gives="labels")


def detector() -> modelport.Source:
    return source(
        Rows(network().backbone), "detection", ["boxes", "scores"], boxes={"output": "boxes"},
        scores={"output": "scores"}, code="ltrb", arrangement="rows", priors={"strides": (8,)},
        nms={"iou": 0.5}, threshold=0.1,
    )  # fmt: skip


CASES: dict[str, tuple[Callable[[], modelport.Source], tuple[str, ...]]] = {
    "LR-ASPP, scores": (segmenter, ("strip_resize",)),
    "LR-ASPP, labels": (labeller, ("strip_argmax",)),
    "1600 places of 80 classes": (detector, ("strip_sigmoid", "strip_transpose")),
}


def apart(one: Any, other: Any) -> float:
    """The share of pixels or of objects that differ."""
    if hasattr(one, "labels"):
        return float(np.mean(one.labels != other.labels))
    left, right = ([(e.index, np.round(e.box)) for e in each.objects] for each in (one, other))
    same = sum(
        a[0] == b[0] and np.abs(a[1] - b[1]).max() <= 1 for a, b in zip(left, right, strict=False)
    )
    return 1 - same / max(1, len(left), len(right))


def rows(name: str, folder: Path) -> list[str]:
    make, edits = CASES[name]
    bundles = {
        form: modelport.deploy(
            make(), output=folder / form.replace(" ", "_"), edits=chosen,
            engines=["onnxruntime", "openvino"], precisions=["fp32"], threads=THREADS, report=False,
        ).path
        for form, chosen in (("as it is", ()), (" ".join(edits), edits))
    }  # fmt: skip
    lines = {form: [f"{name}: {form}"] for form in bundles}
    for engine in ("onnxruntime", "openvino"):
        opened = {
            form: modelport.Predictor(path, variant=f"{engine}-fp32", threads=THREADS)
            for form, path in bundles.items()
        }
        ready = {form: each.prepare(photos()[0]) for form, each in opened.items()}
        calls = {form: partial(each.answer, [ready[form]]) for form, each in opened.items()}
        times = {
            f: statistics.median(t) for f, t in in_turn(calls, rounds=20, warm=3, counted=5).items()
        }
        base = next(iter(times.values()))
        for form, spent in times.items():
            lines[form] += [f"{spent:.2f}", f"{base / spent:.2f}"]
        if engine == "onnxruntime":
            differs = [apart(*(each(photo) for each in opened.values())) for photo in photos()]
    for form, cells in lines.items():
        cells.append("" if form == "as it is" else f"{np.mean(differs):.2%}")
    return [f"| {' | '.join(cells)} |" for cells in lines.values()]


def main() -> None:
    lines = [
        "Milliseconds from a ready tensor to the answer, decode step included. `differ` is the share of "
        "pixels, or of objects, whose answer is another one, over 20 photos. Weights are seeded.",
        "",
        "| case | ORT ms | times | OpenVINO ms | times | differ |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            lines += rows(name, Path(folder))
        print("\n".join(lines[-2:]), flush=True)
    publish("heads", "Heads left to the decode step", lines)


if __name__ == "__main__":
    main()

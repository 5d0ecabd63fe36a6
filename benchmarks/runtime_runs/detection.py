"""YOLOX-Nano on photos of COCO."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from harness import BUILD, ROOT, THREADS

from runtime_runs.case import Case, Contender, Missing
from runtime_runs.ours import Ours
from runtime_runs.packages import unpacked

SIDE, FILL, THRESHOLD, OVERLAP = 416, 114, 0.3, 0.45


def shared(name: str) -> Path:
    """A folder or file that lies beside the checkout."""
    for place in (ROOT / "shared" / "data", ROOT.parent / "shared" / "data"):
        if (place / name).exists():
            return place / name
    raise Missing(f"there is no shared/data/{name} beside the checkout")


def photos() -> list[Path]:
    return sorted(shared("images").glob("*.jpg"))[:24]


class Detector(Ours):
    """The ONNX file that the library publishes, deployed for the engines of this machine."""

    @classmethod
    def bundle(cls) -> Path:
        target = BUILD / "yolox_nano"
        if not target.exists():
            _deploy(target)
        return target

    def plain(self, result: Any) -> Any:
        return [(each.index, each.score, each.box) for each in result.objects]


def _deploy(target: Path) -> None:
    import modelport
    from modelport import transforms

    modelport.deploy(
        modelport.Source(
            model=shared("models/yolox_nano.onnx"),
            transforms=[
                transforms.Decode(colour="bgr"),
                transforms.Letterbox(SIDE, anchor="top_left", rounding="floor"),
                transforms.Layout(),
            ],
            task="detection",
            parameters={"preset": "yolox", "threshold": THRESHOLD, "nms": {"iou": OVERLAP}},
        ),
        output=target,
        calibration=shared("images"),
        precisions=["fp32"],
        threads=THREADS,
        report=False,
    )


class Script(Contender):
    """OpenCV, ONNX Runtime and numpy, as the demos of such detectors do it."""

    def __init__(self) -> None:
        import cv2
        import onnxruntime as ort

        cv2.setNumThreads(THREADS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.cv2 = cv2
        self.session = ort.InferenceSession(
            str(shared("models/yolox_nano.onnx")), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        cells = []
        for stride in (8, 16, 32):
            rows, columns = np.mgrid[: SIDE // stride, : SIDE // stride]
            cells.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], 1))
        self.cells = np.concatenate(cells).astype(np.float32)

    def __call__(self, path: Path) -> list[Any]:
        cv2 = self.cv2
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        ratio = min(SIDE / height, SIDE / width)
        small = cv2.resize(image, (int(width * ratio), int(height * ratio)))
        canvas = np.full((SIDE, SIDE, 3), FILL, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        tensor = np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32)[None]
        raw = self.session.run(None, {self.input: tensor})[0][0]
        stride = self.cells[:, 2:]
        middles = (raw[:, :2] + self.cells[:, :2]) * stride
        sides = np.exp(raw[:, 2:4]) * stride
        scores = raw[:, 5:] * raw[:, 4:5]
        classes = scores.argmax(1)
        best = scores[np.arange(len(scores)), classes]
        sure = best > THRESHOLD
        corners = np.concatenate([middles - sides / 2, sides], 1)[sure]
        classes, best = classes[sure], best[sure]
        kept = cv2.dnn.NMSBoxesBatched(
            corners.tolist(), best.tolist(), classes.tolist(), THRESHOLD, OVERLAP
        )
        corners[:, 2:] += corners[:, :2]
        boxes = (corners / ratio).clip(0, [width, height, width, height])
        return [(int(classes[i]), float(best[i]), boxes[i].tolist()) for i in kept]

    def plain(self, result: Any) -> Any:
        return sorted(result, key=lambda each: -each[1])


class Original(Contender):
    """YOLOX's own network, transform and NMS, in PyTorch, with the weights of the same file."""

    def __init__(self) -> None:
        import torch
        from zoo_models.torchvision_shim import prepare

        prepare()
        folder = unpacked("pypi:yolox==0.3.0") / "yolox-0.3.0"
        # Training and evaluation alone need these.
        for name in ("loguru", "thop", "pycocotools", "pycocotools.coco", "pycocotools.cocoeval"):
            sys.modules.setdefault(name, MagicMock())
        sys.path.insert(0, str(folder))
        from yolox.data.data_augment import preproc
        from yolox.utils import postprocess

        torch.set_num_threads(THREADS)
        self.torch, self.preproc, self.postprocess = torch, preproc, postprocess
        self.net = _original_net(shared("models/yolox_nano.onnx"))

    def __call__(self, path: Path) -> Any:
        import cv2

        image = cv2.imread(str(path))
        tensor, ratio = self.preproc(image, (SIDE, SIDE))
        with self.torch.no_grad():
            raw = self.net(self.torch.from_numpy(tensor).unsqueeze(0).float())
            return self.postprocess(raw, 80, THRESHOLD, OVERLAP)[0], ratio, image.shape

    def plain(self, result: Any) -> Any:
        found, ratio, (height, width, _) = result
        rows = [] if found is None else found.numpy().astype(float)
        edges = [width, height, width, height]  # which its boxes may cross
        return [
            (int(row[6]), row[4] * row[5], (row[:4] / ratio).clip(0, edges).tolist())
            for row in rows
        ]


def _original_net(file: Path) -> Any:
    """The network with the convolutions of the file, in the order in which both run them."""
    import onnx_ir as ir
    import torch
    from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
    from yolox.utils import fuse_model

    size: dict[str, Any] = {"width": 0.25, "in_channels": [256, 512, 1024], "depthwise": True}
    net = YOLOX(YOLOPAFPN(depth=0.33, **size), YOLOXHead(80, **size)).eval()
    net = fuse_model(net)
    ran: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: ran.append(module))
        for module in net.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    convs = [node for node in ir.load(file).graph if node.op_type == "Conv"]
    for module, node in zip(ran, convs, strict=True):
        for parameter, value in zip((module.weight, module.bias), node.inputs[1:], strict=True):
            array = value.const_value.numpy()
            parameter.data = torch.from_numpy(array.copy()).reshape(parameter.shape)
    return net


def differ(ours: Any, theirs: Any) -> str | None:
    """Objects of one class within two pixels are the same; close calls may come out either way."""
    missed = [one for one in ours if not any(_same(one, other) for other in theirs)]
    missed += [other for other in theirs if not any(_same(one, other) for one in ours)]
    sure = [each for each in missed if each[1] > THRESHOLD + 0.02]
    return f"{len(sure)} objects" if sure else None


def _same(one: Any, other: Any) -> bool:
    return one[0] == other[0] and bool(np.abs(np.subtract(one[2], other[2])).max() < 2)


CASE = Case(
    "detection",
    f"YOLOX-Nano, {SIDE}x{SIDE}, from a JPEG to boxes",
    photos,
    {
        "modelport, as deployed": Detector,
        "OpenCV + ONNX Runtime script": Script,
        "YOLOX's own library": Original,
    },
    differ,
    (
        "The original is YOLOX 0.3.0 in PyTorch, its BatchNorms fused, with the weights of the ONNX file.",
    ),
)

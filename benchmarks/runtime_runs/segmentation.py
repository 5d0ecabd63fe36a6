"""LR-ASPP on photos: every pixel has a class, at the size of the photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from harness import BUILD, THREADS, photos

from runtime_runs.case import Case, Contender, Missing
from runtime_runs.classification import MEAN, STD
from runtime_runs.ours import Ours

SIDE, CLASSES = 320, 21
WEIGHTS, PEER = BUILD / "lraspp_balanced.pth", BUILD / "lraspp_balanced.onnx"


def network() -> Any:
    """torchvision's, with the weights of `WEIGHTS`, which are made first where there are none.

    Trained ones are not among the models at hand. The seeded ones have BatchNorms that have seen the
    photos, so that activations have the sizes that they have in trained networks, and classes that are
    about equally frequent, so that pictures have regions with borders.
    """
    try:
        import torch
        from zoo_models.torchvision_shim import prepare

        prepare()
        from torchvision.models.segmentation import lraspp_mobilenet_v3_large
    except Exception as error:  # whatever a library that does not fit the other one raises
        raise Missing(f"torchvision does not run here: {error}") from error
    torch.manual_seed(0)
    net = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    if not WEIGHTS.exists():
        batch = torch.cat([_tensor(path) for path in photos()])
        with torch.no_grad():
            for _ in range(30):
                net.train()(batch)
            _balance(net.eval(), batch)
        torch.save(net.state_dict(), WEIGHTS)
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net.eval()


def _balance(net: Any, batch: Any) -> None:
    """Gives the scores of every class the mean 0 and the deviation 1 over the pixels of the photos."""
    scores = net(batch)["out"]
    std, mean = scores.std((0, 2, 3)), scores.mean((0, 2, 3))
    head = net.classifier
    for last in (head.low_classifier, head.high_classifier):
        last.weight /= std[:, None, None, None]
        last.bias /= std
    head.high_classifier.bias -= mean / std


def _tensor(path: Path) -> Any:
    from PIL import Image
    from torchvision.transforms import v2

    steps = v2.Compose([v2.PILToTensor(), v2.Resize((SIDE, SIDE)), v2.ToDtype(_float(), scale=True),
                        v2.Normalize(MEAN.tolist(), STD.tolist())])  # fmt: skip
    with Image.open(path) as image:
        return steps(image.convert("RGB"))[None]


def _float() -> Any:
    import torch

    return torch.float32


class Segmenter(Ours):
    """Deployed for the engines of this machine, in float32."""

    @classmethod
    def bundle(cls) -> Path:
        target = BUILD / "lraspp_balanced"
        if not target.exists():
            _deploy(target)
        return target

    def plain(self, result: Any) -> Any:
        return result.labels


def _deploy(target: Path) -> None:
    import torch

    import modelport
    from modelport import transforms

    modelport.deploy(
        modelport.Source(
            model=network(),
            inputs=(torch.randn(1, 3, SIDE, SIDE),),
            transforms=[
                transforms.Decode(),
                transforms.Resize((SIDE, SIDE)),
                transforms.Normalize(mean=tuple(MEAN.tolist()), std=tuple(STD.tolist())),
                transforms.Layout(),
            ],
            task="semantic_segmentation",
            parameters={"output": "out"},
        ),
        output=target,
        calibration=photos()[0].parent,
        precisions=["fp32"],
        threads=THREADS,
        report=False,
    )


class Script(Contender):
    """OpenCV, ONNX Runtime and numpy."""

    @classmethod
    def ready(cls) -> None:
        import torch

        if not PEER.exists():
            example = (torch.randn(1, 3, SIDE, SIDE),)
            torch.onnx.export(
                network(), example, str(PEER), dynamo=True, external_data=False, verbose=False
            )

    def __init__(self) -> None:
        import cv2
        import onnxruntime as ort

        cv2.setNumThreads(THREADS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.cv2 = cv2
        self.session = ort.InferenceSession(str(PEER), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def __call__(self, path: Path) -> Any:
        cv2 = self.cv2
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        small = cv2.resize(image, (SIDE, SIDE))
        tensor = ((small.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
        logits = self.session.run(None, {self.input: np.ascontiguousarray(tensor)})[0][0]
        planes = [cv2.resize(plane, (image.shape[1], image.shape[0])) for plane in logits]
        return np.argmax(planes, axis=0)

    def plain(self, result: Any) -> Any:
        return result


class Original(Contender):
    """torchvision's network and transforms, in PyTorch."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self.torch, self.net = torch, network()

    def __call__(self, path: Path) -> Any:
        from PIL import Image

        with Image.open(path) as image:
            size = (image.height, image.width)
        with self.torch.inference_mode():
            logits = self.net(_tensor(path))["out"]
            whole = self.torch.nn.functional.interpolate(logits, size, mode="bilinear")
            return whole.argmax(1)[0].numpy()

    def plain(self, result: Any) -> Any:
        return result


def differ(ours: Any, theirs: Any) -> str | None:
    """Seeded weights leave many pixels undecided between two classes."""
    if ours.shape != theirs.shape:
        return f"{ours.shape} against {theirs.shape}"
    same = float(np.mean(ours == theirs))
    return None if same > 0.97 else f"{1 - same:.1%} of the pixels"


CASE = Case(
    "segmentation",
    f"LR-ASPP with MobileNetV3-Large, {SIDE}x{SIDE}, from a JPEG to a class for every pixel of it",
    photos,
    {
        "modelport, as deployed": Segmenter,
        "OpenCV + ONNX Runtime script": Script,
        "torchvision": Original,
    },
    differ,
    (
        "The weights are seeded, not trained; labels are equal where they agree on 97 % of the pixels. The "
        "script resizes as OpenCV does, without antialiasing.",
    ),
)

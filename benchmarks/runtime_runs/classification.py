"""MobileNetV2 on the demo's photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, THREADS, demo_bundle, demo_data, draft_bundle, peer_onnx, photos

from runtime_runs.case import Case, Contender, Missing
from runtime_runs.ours import Ours

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Demo(Ours):
    """The bundle of the README's command, with the variant that it chose."""

    @classmethod
    def bundle(cls) -> Path:
        return demo_bundle()

    def plain(self, result: Any) -> Any:
        return result.index, result.score


class Draft(Demo):
    """The same, with JPEGs decoded as drafts within the budget."""

    @classmethod
    def bundle(cls) -> Path:
        return draft_bundle()


class Script(Contender):
    """OpenCV and ONNX Runtime in float32, without waste."""

    def __init__(self) -> None:
        import cv2
        import onnxruntime as ort

        cv2.setNumThreads(THREADS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.cv2 = cv2
        self.session = ort.InferenceSession(
            str(peer_onnx()), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name

    def __call__(self, path: Path) -> tuple[int, float]:
        cv2 = self.cv2
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        scale = 256 / min(height, width)
        image = cv2.resize(image, (round(width * scale), round(height * scale)))
        top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
        image = image[top : top + 224, left : left + 224]
        tensor = ((image.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
        logits = self.session.run(None, {self.input: np.ascontiguousarray(tensor)})[0][0]
        powers = np.exp(logits - logits.max())
        best = int(powers.argmax())
        return best, float(powers[best] / powers.sum())

    def plain(self, result: Any) -> Any:
        return result


class Original(Contender):
    """torchvision's network and its own preset of transforms, in PyTorch."""

    def __init__(self) -> None:
        try:
            import torch
            from zoo_models.torchvision_shim import prepare

            prepare()
            from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
        except Exception as error:  # whatever a library that does not fit the other one raises
            raise Missing(f"torchvision does not run here: {error}") from error
        torch.set_num_threads(THREADS)
        self.torch = torch
        self.net = mobilenet_v2().eval()
        weights = torch.load(demo_data() / "mobilenet_v2.pth", weights_only=True)
        self.net.load_state_dict(weights)
        self.transforms = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()

    def __call__(self, path: Path) -> tuple[int, float]:
        from PIL import Image

        with Image.open(path) as image, self.torch.inference_mode():
            tensor = self.transforms(image.convert("RGB"))[None]
            shares = self.net(tensor).softmax(1)[0]
        best = int(shares.argmax())
        return best, float(shares[best])

    def plain(self, result: Any) -> Any:
        return result


def differ(ours: Any, theirs: Any) -> str | None:
    return None if ours[0] == theirs[0] else f"class {ours[0]} against {theirs[0]}"


CASE = Case(
    "classification",
    "MobileNetV2, 224x224, from a JPEG to the five best labels",
    photos,
    {
        "modelport, as deployed": Demo,
        "OpenCV + ONNX Runtime script": Script,
        "modelport, draft JPEGs": Draft,
        "torchvision": Original,
    },
    differ,
    (
        "All 20 photos are progressive JPEGs, whose entropy decoding is the same library's work for all.",
        "The script resizes as OpenCV does, which is not what the model was trained with; it computes one "
        "label, and modelport five.",
        f"The script runs what `torch.onnx.export` writes of `{(ROOT / 'examples').name}/mobilenet_v2.py`.",
    ),
)

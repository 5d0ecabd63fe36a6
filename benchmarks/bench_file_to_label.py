"""From a file to its label: the demo's bundle against the script that people write by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from harness import (
    THREADS,
    demo_bundle,
    demo_data,
    draft_bundle,
    peer_onnx,
    photos,
    publish,
    summary,
    workers_in_turn,
)

import modelport

PEER = "OpenCV + ONNX Runtime fp32 script"
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Script:
    """The usual hand-written inference script, in float32 and without waste."""

    def __init__(self) -> None:
        cv2.setNumThreads(THREADS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = ort.InferenceSession(
            str(peer_onnx()), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.labels = (demo_data() / "labels.txt").read_text().splitlines()

    def __call__(self, path: Path) -> tuple[str, float]:
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
        return self.labels[best], float(powers[best] / powers.sum())


def stages(predictor: modelport.Predictor, files: list[Path]) -> str:
    """Median milliseconds of each stage over all files."""
    laps = [predictor(file).timing_ms for _ in range(10) for file in files]
    return ", ".join(f"{stage} {np.median([lap[stage] for lap in laps]):.2f}" for stage in laps[0])


def loss(predictor: modelport.Predictor) -> float:
    fidelity = predictor.variant.fidelity
    assert fidelity is not None
    assert fidelity.loss is not None
    return fidelity.loss


def ours() -> modelport.Predictor:
    return modelport.load(demo_bundle(), threads=THREADS)


def ours_with_drafts() -> modelport.Predictor:
    return modelport.load(draft_bundle(), threads=THREADS)


def main() -> None:
    files = photos()
    predictor, draft = ours(), ours_with_drafts()
    makers = {
        PEER: Script,
        f"modelport, {predictor.variant.name}": ours,
        f"modelport, {draft.variant.name}, draft JPEGs": ours_with_drafts,
    }
    times = workers_in_turn(makers, files, rounds=25, passes=3)
    lines = [
        f"Target: at least 1.5 times as fast, on the demo's {len(files)} photos.",
        "",
        *summary(times, PEER),
        "",
        "Transforms as in training (PIL's antialiased resize); the script's resize is OpenCV's, which "
        "is not what the model was trained with. Drafts (`Decode(draft=True)`) decode JPEGs at half "
        "size and without the last bits of their detail: loss on the photos, quantization included, "
        f"{loss(draft):.2%}, within the budget of 1 %.",
        "",
        f"Where the time goes, median ms: {stages(predictor, files)}; with drafts: "
        f"{stages(draft, files)}. All {len(files)} photos are progressive JPEGs, whose entropy decoding "
        "takes the larger part and is the same library's work on both sides.",
    ]
    publish("file_to_label", "From a file to its label, MobileNetV2 224x224", lines)


if __name__ == "__main__":
    main()

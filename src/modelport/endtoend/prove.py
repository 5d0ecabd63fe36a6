"""The graph beside the predictor, on pictures of several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from modelport.bundle.read import Bundle
from modelport.endtoend.answers import ANSWERS, expected
from modelport.endtoend.build import IMAGE, TENSOR, tensor_graph
from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.runtime import transforms
from modelport.runtime.predictor import Predictor
from modelport.runtime.transforms import Decode, Normalize
from modelport.types import Array, Target

SIZES = ((480, 640), (427, 640), (640, 425), (97, 131), (300, 900), (33, 20))
"""Height and width of the generated pictures: lying, standing, small, of odd sides."""

MOST_FILES = 20

ROUNDING = 2.01
"""Grey levels: the runtime is within one of the library, and so is the graph; a little for float32."""


@dataclass(frozen=True)
class Proof:
    """Attributes:
    pictures: how many were compared.
    problem: the first disagreement, in words; None where there is none.
    """

    pictures: int
    problem: str | None


def trial_pictures(bundle: Bundle, files: Sequence[Path]) -> list[tuple[str, Array]]:
    """Named pixels: of those files, of the bundle's golden cases, and generated ones."""
    decode = Decode(orientation="exif")
    found = [(file.name, np.asarray(decode(file))) for file in files[:MOST_FILES]]
    for case in bundle.cases:
        if case.picture is not None:
            blob = bundle.blob(case.picture).view()
            found.append((f"the case {case.name}", np.asarray(decode(bytes(blob)))))
    return [*found, *_generated()]


def _generated() -> Iterator[tuple[str, Array]]:
    """Shapes over a gradient, with some noise: neither flat, nor without anything large."""
    generator = np.random.default_rng(0)
    for height, width in SIZES:
        down, across = np.mgrid[0:height, 0:width].astype(np.float64)
        waves = [
            np.sin(across / width * a + down / height * b)
            for a, b in generator.uniform(1, 25, (3, 2))
        ]
        pixels = np.stack(waves, -1) * 90 + 128 + generator.normal(0, 12, (height, width, 3))
        yield f"a generated picture of {width}x{height}", pixels.clip(0, 255).astype(np.uint8)


def prove(whole: ir.Model, predictor: Predictor, pictures: Sequence[tuple[str, Array]]) -> Proof:
    """Compares the tensors that the transforms make, and the results, on every picture.

    The tensors too: a network with nearly equal scores would hide channels in the wrong order.
    """
    opset = whole.opset_imports[""]
    made = transforms.parse(predictor.bundle.manifest.transforms)
    task, engine = predictor.task.name, ENGINES.get("onnxruntime")
    with (
        opened(engine, tensor_graph(made, opset), Target()) as before,
        opened(engine, whole, Target()) as session,
    ):
        for count, (name, pixels) in enumerate(pictures, 1):
            problem = _tensor_problem(before.run({IMAGE: pixels})[TENSOR], predictor, pixels)
            if problem is None:
                want, got = expected(task, predictor(pixels)), session.run({IMAGE: pixels})
                problem = ANSWERS[task].differs(want, got)
            if problem is not None:
                return Proof(count, f"on {name} {problem}")
    return Proof(len(pictures), None)


def _tensor_problem(got: Array, predictor: Predictor, pixels: Array) -> str | None:
    """What is further away than one grey level, in words."""
    want = predictor.prepare(pixels).first
    if want.shape != got.shape:
        return f"the transforms give {list(got.shape)}, and {list(want.shape)} is right"
    levels = float(np.abs(want.astype(np.float64) - got).max(initial=0)) / _grey_level(predictor)
    return None if levels <= ROUNDING else f"the transforms differ by {levels:.1f} grey levels"


def _grey_level(predictor: Predictor) -> float:
    """What one step of 0..255 changes the channel that it changes most."""
    normalize = getattr(predictor.preprocessor, "normalize", None)
    if not isinstance(normalize, Normalize):
        return 1.0
    return max(normalize.scale / std for std in normalize.std)

"""Saves pictures with results drawn on them."""

from __future__ import annotations

from pathlib import Path

from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.image import Decode


def save_drawing(predictor: Predictor, file: Path, result: Result, folder: Path) -> Path:
    """Draws the result on the picture and saves it as PNG under the same name in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{file.stem}.png"
    predictor.task.draw(Decode()(file), result).save(target)
    return target

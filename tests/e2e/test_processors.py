"""Image processors of transformers whose sides depend on the picture, beside our transforms for them."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelport.codebases import CODEBASES
from modelport.codebases.processors import recipe_of
from modelport.runtime.transforms.picture import PicturePreprocessor
from support import ROOT

PHOTOS = ROOT.parent / "shared" / "data" / "images"

PROCESSORS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "Detr": ("detr", {}, ["resize"]),
    "Detr padded": ("detr", {"pad_size": {"height": 1333, "width": 1333}}, ["resize", "pad"]),
    "Yolos": ("yolos", {}, ["resize"]),
    "Mask2Former": ("mask2former", {}, ["resize"]),
    "OneFormer": ("oneformer", {}, ["resize"]),
    "DPT": ("dpt", {}, ["resize"]),
    "DPT as of Depth Anything": (
        "dpt",
        {
            "size": {"height": 518, "width": 518},
            "ensure_multiple_of": 14,
            "keep_aspect_ratio": True,
        },
        ["resize_to_multiple"],
    ),
    "DPT padded": (
        "dpt",
        {"do_resize": False, "do_pad": True, "size_divisor": 32},
        ["pad"],
    ),
    "GLPN": ("glpn", {}, ["resize_to_multiple"]),
    "Sam": ("sam", {}, ["resize", "pad"]),
    "Swin2SR": ("swin2sr", {}, ["pad"]),
    "TextNet": ("textnet", {}, ["resize"]),
    "MobileViT": ("mobilevit", {}, ["resize", "center_crop"]),
    "Donut": ("donut", {"size": {"height": 640, "width": 480}}, ["resize", "letterbox"]),
    "CLIP": ("clip", {}, ["resize", "center_crop"]),
}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    if not PHOTOS.is_dir():
        pytest.skip(f"there are no photos in {PHOTOS.parent.name}/{PHOTOS.name}")
    found = [_read(path) for path in sorted(PHOTOS.glob("*.jpg"))[:5]]
    ribbon = found[0].crop(
        (0, 0, found[0].width, found[0].width // 3)
    )  # the limit of a longer edge
    return [*found, ribbon]


def _read(path: Path) -> Image.Image:
    with Image.open(path) as photo:
        return photo.convert("RGB")


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_is_said(name: str, photos: list[Image.Image]) -> None:
    for needed in ("transformers", "torchvision"):
        reason = CODEBASES.get(needed).available()
        if reason is not None:
            pytest.skip(reason)
        CODEBASES.get(needed).library()
    family, settings, kinds = PROCESSORS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(
            f"transformers.models.{family}.image_processing_pil_{family}"
        )
        processor = getattr(module, f"{name.split()[0]}ImageProcessorPil")(**settings)
        recipe = recipe_of(processor)
        assert recipe.notes == ()
        made = [step.kind for step in recipe.transforms]  # type: ignore[attr-defined]
        assert [kind for kind in made if kind not in ("decode", "normalize", "layout")] == kinds
        pipeline = PicturePreprocessor(recipe.transforms)
        for photo in photos:
            theirs = np.asarray(processor(images=photo, return_tensors="np")["pixel_values"])
            ours = pipeline(photo)
            assert ours.shape == theirs.shape
            normalize = pipeline.normalize
            assert normalize is not None
            grey = normalize.scale / np.array(normalize.std)
            assert (np.abs(ours - theirs) <= 1.001 * grey[:, None, None]).all()

"""torchvision's detectors, from a list of pictures to plain tensors."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn

Detector = TypeVar("Detector", bound=nn.Module)


class _OnePicture:
    """Goes before a detector's class: its `forward` takes a batch of one, and gives a dictionary.

    It changes the class and wraps nothing, so the paths of modules and the keys of weights stay
    those of torchvision.
    """

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes, labels, scores, and masks or keypoints where the detector has them.

        Args:
            image: 1 x 3 x height x width, values of 0..1.
        """
        if image.shape[0] != 1:
            raise ValueError(f"torchvision's detectors take one picture, not {image.shape[0]}")
        (found,) = super().forward([image[0]])  # type: ignore[misc]
        first = {key: found.pop(key) for key in ("boxes", "labels", "scores")}
        return {**first, **found}


def for_one_picture(detector: Detector) -> Detector:
    """The same object, taking one picture as a tensor, switched to inference."""
    own = type(detector)
    detector.__class__ = type(own.__name__, (_OnePicture, own), {"__module__": own.__module__})
    detector.eval()
    return detector


def is_detector(model: Any) -> bool:
    """Detectors have a transform of their own, which resizes pictures inside the model."""
    return type(getattr(model, "transform", None)).__name__ == "GeneralizedRCNNTransform"


def native_size(detector: Any) -> tuple[int, int]:
    """Height and width that the detector's own transform leaves as they are."""
    inside = detector.transform
    if inside.fixed_size is not None:  # width before height
        return int(inside.fixed_size[1]), int(inside.fixed_size[0])
    return int(inside.min_size[-1]), int(inside.min_size[-1])

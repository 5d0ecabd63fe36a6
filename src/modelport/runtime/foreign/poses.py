"""Skeletons for models that say only how many keypoints they have."""

from __future__ import annotations

from typing import Any

COCO = 17
"""Keypoints of the people of COCO, which nearly all models of seventeen have."""


def skeleton_of(count: int) -> str | dict[str, Any]:
    """COCO's, or keypoints with numbers for names and without bones."""
    if count == COCO:
        return "coco17"
    return {"names": [f"keypoint {number}" for number in range(count)], "bones": []}

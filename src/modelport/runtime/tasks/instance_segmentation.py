"""Objects with upright boxes and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from modelport.errors import FeedsError
from modelport.runtime.decoding.detection_head import Found, extras, find
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.head_parts import Part, floats, output_of
from modelport.runtime.decoding.mask_sampling import (
    Lines,
    Window,
    grid_places,
    in_box,
    middles,
    resampled,
    turned,
    window_of,
)
from modelport.runtime.decoding.reading import sigmoid
from modelport.runtime.decoding.rle import rle_from_mask
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.placement import Sides
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.tasks.detection import Box, boxes_in_picture, described, row_of
from modelport.types import Array, Outputs


class Masks(Parameters):
    """What masks a model gives.

    Attributes:
        output: of the masks, or of the prototypes.
        kind: `box`: objects x height x width, each filling its box, such as Mask R-CNN's 28x28;
            `full`: objects x height x width, each over the whole tensor; `prototypes`: channels x
            height x width over the tensor, which each object mixes (Bolya et al., YOLACT, 2019).
        coefficients: of each object's mix of prototypes, channels of the head's rows.
        activation: of the values, before they are resized.
        threshold: an object is where values are more than this.
    """

    output: int | str
    kind: Literal["box", "full", "prototypes"] = "box"
    coefficients: Part | None = None
    activation: Literal["none", "sigmoid"] = "none"
    threshold: float = 0.5


class InstanceParameters(HeadParameters):
    """Those of a detector, and its masks.

    Attributes:
        masks: where they are, and what they cover.
    """

    masks: Masks


@dataclass(frozen=True, eq=False)
class Instance:
    """One object.

    Attributes:
        box: left, top, right, bottom in pixels of the picture.
        patch: bool, height x width: the part of the mask that is not empty for sure.
        corner: column and row of the picture where the patch lies.
        sides: width and height of the picture, or of the tensor where there is none.
    """

    box: Box
    label: str
    index: int
    score: float
    patch: Array
    corner: tuple[int, int]
    sides: Sides

    @property
    def mask(self) -> Array:
        """Bool, height x width of the picture."""
        whole = np.zeros((self.sides[1], self.sides[0]), bool)
        left, top = self.corner
        high, wide = self.patch.shape
        whole[top : top + high, left : left + wide] = self.patch
        return whole

    @property
    def area(self) -> int:
        """Pixels."""
        return int(np.count_nonzero(self.patch))

    def to_json(self) -> dict[str, Any]:
        """With the mask as COCO's run lengths."""
        return {
            "box": list(self.box),
            "label": self.label,
            "index": self.index,
            "score": self.score,
            "mask": rle_from_mask(self.mask),
        }


@dataclass(frozen=True, eq=False)
class Instances(Result):
    """The objects of a picture, the surest first."""

    objects: tuple[Instance, ...]

    def __len__(self) -> int:
        return len(self.objects)

    def to_json(self) -> dict[str, Any]:
        return {"objects": [each.to_json() for each in self.objects]}

    def rows(self) -> list[dict[str, Any]]:
        """One for each object; a mask by its area."""
        return [{**row_of(each), "area": each.area} for each in self.objects]


class InstanceSegmentationTask(Task[InstanceParameters, Instances]):
    name: ClassVar[str] = "instance_segmentation"
    summary: ClassVar[str] = "objects with their boxes and masks"
    Parameters: ClassVar[type[InstanceParameters]] = InstanceParameters

    def decode(self, outputs: Outputs, context: Context[InstanceParameters]) -> Instances:
        found = find(outputs, context)
        how = context.parameters.masks
        values = floats(_without_batch(output_of(outputs, how.output), how, found))
        tensor = _tensor_sides(values, context)
        sides = tensor if context.placement is None else context.placement.picture
        sampler = _SAMPLERS[how.kind](values, found, outputs, context, tensor)
        shown = boxes_in_picture(found.boxes, context)
        objects = []
        for place, box in enumerate(shown):
            window = window_of(box, sides, 1 if how.kind == "full" else 0)
            patch = _patch(sampler, place, window) > how.threshold
            index = int(found.classes[place])
            objects.append(
                Instance(
                    (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                    context.label(index),
                    index,
                    float(found.scores[place]),
                    patch,
                    window[:2],
                    sides,
                )
            )
        return Instances(tuple(objects))

    def draw(self, image: Image.Image, result: Instances) -> Image.Image:
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for number, each in enumerate(result.objects):
            if each.sides == image.size:
                sheet.mask(each.mask, colour_of(number))
        for number, each in reversed(list(enumerate(result.objects))):
            sheet.box(each.box, f"{each.label} {each.score:.2f}", colour_of(number))
        return drawn

    def describe(self, result: Instances) -> str:
        return described(result.objects)


Sampler = Callable[[int, Window], Array]
"""Values of the mask of one object at the pixels of a window."""


def _patch(sampler: Sampler, place: int, window: Window) -> Array:
    left, top, right, bottom = window
    if right <= left or bottom <= top:
        return np.full((max(bottom - top, 0), max(right - left, 0)), -np.inf, np.float32)
    return sampler(place, window)


def _activated(values: Array, context: Context[InstanceParameters]) -> Array:
    return sigmoid(values) if context.parameters.masks.activation == "sigmoid" else values


def _of_boxes(
    values: Array, found: Found, outputs: Outputs, context: Context[Any], tensor: Sides
) -> Sampler:
    boxes = found.boxes.astype(np.float64)
    if context.placement is not None:
        boxes = context.placement.boxes_to_picture(boxes, clip=False)
    masks = _activated(values[found.rows], context)
    return lambda place, window: in_box(masks[place], boxes[place], window)


def _of_the_tensor(
    values: Array, found: Found, outputs: Outputs, context: Context[Any], tensor: Sides
) -> Sampler:
    def sample(place: int, window: Window) -> Array:
        return _over_tensor(values[found.rows[place]][None], None, window, context, tensor)

    return sample


def _of_prototypes(
    values: Array, found: Found, outputs: Outputs, context: Context[Any], tensor: Sides
) -> Sampler:
    """Mixed, and cut off at the box."""
    how: InstanceParameters = context.parameters
    if how.masks.coefficients is None:
        raise FeedsError(
            "Prototypes of masks are to be mixed, and nothing says with which coefficients",
            expected="`coefficients` in the masks of the task",
        )
    mixes = extras(how.masks.coefficients, outputs, how, found)
    if mixes.shape[1] != len(values):
        raise FeedsError(
            f"The model gives {len(values)} prototypes and {mixes.shape[1]} coefficients",
            expected="as many of both",
        )
    boxes = boxes_in_picture(found.boxes, context)

    def sample(place: int, window: Window) -> Array:
        made = _over_tensor(values, mixes[place], window, context, tensor)
        left, top, right, bottom = boxes[place]
        x, y = middles(window[0], window[2]), middles(window[1], window[3])
        inside = ((y >= top) & (y < bottom))[:, None] & (x >= left) & (x < right)
        return np.where(inside, made, -np.inf)

    return sample


def _over_tensor(
    maps: Array, mix: Array | None, window: Window, context: Context[Any], tensor: Sides
) -> Array:
    """Maps over the tensor, mixed into one where there is a mix, at the pixels of a window.

    Only the cells that the window needs are mixed.
    """
    high, wide = maps.shape[1:]
    places = grid_places(window, context.placement, tensor, (wide, high))
    if places is None:
        return turned(_mixed(maps, mix, context), window, context.placement, tensor)  # type: ignore[arg-type]
    rows, columns = Lines.at(places[0], high), Lines.at(places[1], wide)
    (top, bottom), (left, right) = rows.span(), columns.span()
    part = _mixed(maps[:, top:bottom, left:right], mix, context)
    return resampled(
        part, Lines(rows.low - top, rows.share), Lines(columns.low - left, columns.share)
    )


def _mixed(maps: Array, mix: Array | None, context: Context[Any]) -> Array:
    if mix is None:
        return _activated(maps[0], context)
    made = mix @ maps.reshape(len(maps), -1)
    return _activated(made.reshape(maps.shape[1:]), context)


_SAMPLERS: dict[str, Callable[[Array, Found, Outputs, Context[Any], Sides], Sampler]] = {
    "box": _of_boxes,
    "full": _of_the_tensor,
    "prototypes": _of_prototypes,
}


def _without_batch(array: Array, how: Masks, found: Found) -> Array:
    """Objects or channels x height x width."""
    values = array
    if values.ndim == 5 and values.shape[0] == values.shape[2] == 1:
        values = values[0, :, 0]
    elif values.ndim == 4 and values.shape[1] == 1 and how.kind != "prototypes":
        values = values[:, 0]  # of objects x 1 x height x width
    elif values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    rows = int(found.rows.max()) + 1 if len(found) else 0
    if values.ndim != 3 or (how.kind != "prototypes" and len(values) < rows):
        raise FeedsError(
            f"The masks have shape {list(array.shape)}, and {len(found)} objects were found",
            expected=f"{'channels' if how.kind == 'prototypes' else 'objects'} x height x width "
            f"for the kind {how.kind}",
        )
    return np.asarray(values)


def _tensor_sides(values: Array, context: Context[InstanceParameters]) -> Sides:
    """Width and height of the tensor."""
    how = context.parameters
    if how.size is not None and context.placement is None:
        return how.size[1], how.size[0]
    if context.tensor is not None:
        return context.tensor
    if how.masks.kind == "full":
        return values.shape[2], values.shape[1]
    raise FeedsError(
        "Nothing tells the size of the tensor, and masks are placed in it",
        expected="the height and width of the model's input",
        hint="Give the parameter `size`, or the feeds to `decode`",
    )

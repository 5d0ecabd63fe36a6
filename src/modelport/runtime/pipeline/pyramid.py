"""One picture at several scales, for models that see objects of one size, or see more at several."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from modelport.errors import DataError
from modelport.runtime.decoding.nms import Nms
from modelport.runtime.placement import Sides, scaling
from modelport.runtime.tasks.base import Parameters
from modelport.runtime.transforms.regions import Cut
from modelport.runtime.transforms.resampling import Interpolation, resample
from modelport.runtime.transforms.rounding import Rounding, pixels

MOST_PIXELS = 1 << 28
"""Of a picture at one scale: more is a mistake in the scales."""

MOST_SCALES = 200


class Pyramid(Parameters):
    """A stage shows its model what it takes at several scales, and joins the results to one.

    Scales are listed, or follow from the size of what is looked for: the first brings the `smallest`
    objects to the `window` of the model, each next one is smaller by the `factor`, and the last one
    leaves the shorter side of the picture at least a window long.

    Attributes:
        scales: of the sides, one by one; for tests at several scales, say.
        window: side of what the model finds, in pixels of its tensor.
        smallest: side of the smallest objects that are looked for, in pixels of the picture.
        factor: from one scale to the next.
        join: how results of all scales are thinned out together.
        interpolation: how pictures are resized; see `transforms.Resize`.
        rounding: of the sides to whole pixels.
        nominal: whether places are counted by the scale itself, though the sides were rounded: as MTCNN
            counts. Else by the sides as they are.
    """

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    window: PositiveInt | None = None
    smallest: PositiveFloat | None = None
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.709
    join: Nms = Nms()
    interpolation: Interpolation = "pil.bilinear"
    rounding: Rounding = "half-even"
    nominal: bool = False

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        by_size = self.window is not None and self.smallest is not None
        if (self.scales is None) != by_size or (self.window is None) != (self.smallest is None):
            raise ValueError("give either `scales`, or both `window` and `smallest`")
        return self

    def scales_of(self, sides: Sides) -> tuple[float, ...]:
        """The scales at which a picture with that width and height is shown, the largest first.

        Raises:
            DataError: where the picture is smaller than what is looked for, so that there is none; or where
                there are far too many.
        """
        if self.scales is not None:
            return self.scales
        assert self.window is not None
        assert self.smallest is not None
        # A little slack: 20 * (12 / 20) may be a hair less than 12.
        found: list[float] = []
        scale = self.window / self.smallest
        while min(sides) * scale >= self.window * (1 - 1e-9) and len(found) <= MOST_SCALES:
            found.append(scale)
            scale *= self.factor
        if len(found) > MOST_SCALES:
            raise DataError(
                f"A picture of {sides[0]} x {sides[1]} pixels has more than {MOST_SCALES} scales",
                hint="Lower the `factor` in the pyramid",
            )
        if not found:
            raise DataError(
                f"No scale fits a picture of {sides[0]} x {sides[1]} pixels",
                expected=f"both sides at least as long as the smallest object: {self.smallest:g}",
                hint="Lower `smallest` in the pyramid, or leave out pictures and crops so small",
            )
        return tuple(found)

    def shown(self, image: Image.Image, scale: float) -> Cut:
        """The picture at that scale, and the matrix from its places to places of that.

        Raises:
            DataError: where it would be far too large.
        """
        wide, high = (pixels(side * scale, self.rounding) for side in image.size)
        if wide * high > MOST_PIXELS:
            raise DataError(
                f"At the scale {scale:g}, a picture of {image.width} x {image.height} has {wide} x {high}",
                expected=f"at most {MOST_PIXELS} pixels",
                hint="Give smaller scales, or a larger `smallest`",
            )
        matrix = np.diag([scale, scale, 1.0])
        if not self.nominal:
            matrix = scaling(image.size, (wide, high))
        return resample(image, self.interpolation, (wide, high)), matrix

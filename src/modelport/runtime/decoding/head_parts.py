"""Where in the outputs something stands, and how it becomes one row for each place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from modelport.errors import FeedsError
from modelport.runtime.tasks.base import Parameters
from modelport.types import Array, Outputs

Arrangement = Literal["rows", "columns", "values", "maps", "maps_last", "anchors_first"]
"""How an output stands; a batch axis of one may come first.

- `rows`: places x channels, such as YOLOX's 1x3549x85.
- `columns`: channels x places, such as 1x84x8400.
- `values`: places alone, one number each, such as the scores after an NMS.
- `maps`: (anchors * channels) x height x width.
- `maps_last`: height x width x (anchors * channels).
- `anchors_first`: anchors x height x width x channels.

Places of maps are numbered row by row, and at each place anchor by anchor.
"""

Grid = tuple[int, int]
"""Height and width of a map."""

_RANKS = {"rows": 2, "columns": 2, "values": 1, "maps": 3, "maps_last": 3, "anchors_first": 4}


class Part(Parameters):
    """Some channels of one output, or of one output for each level of a pyramid.

    Attributes:
        output: name or position of the output; a list has one for each level.
        first: its first channel.
        count: how many channels; None for all from the first on.
        arrangement: how the output stands; None for the arrangement of the head.
    """

    output: int | str | tuple[int | str, ...] = 0
    first: NonNegativeInt = 0
    count: PositiveInt | None = None
    arrangement: Arrangement | None = None

    def read(
        self, outputs: Outputs, usual: Arrangement, anchors: Sequence[int] = (1,)
    ) -> list[Rows]:
        """The channels of each level as places x channels, views where that is possible.

        Args:
            usual: the arrangement of the head.
            anchors: how many there are at each place of a map, level by level; one number is for all.

        Raises:
            FeedsError: where the output is missing, or of another shape.
        """
        names = self.output if isinstance(self.output, tuple) else (self.output,)
        arrangement = self.arrangement or usual
        counts = list(anchors) * len(names) if len(anchors) == 1 else list(anchors)
        return [
            self._level(outputs, name, arrangement, counts[min(index, len(counts) - 1)])
            for index, name in enumerate(names)
        ]

    def _level(
        self, outputs: Outputs, name: int | str, arrangement: Arrangement, anchors: int
    ) -> Rows:
        array = output_of(outputs, name)
        rows = arranged(array, arrangement, anchors, name)
        end = None if self.count is None else self.first + self.count
        width = rows.values.shape[1]
        if (end or self.first + 1) > width:
            raise FeedsError(
                f"{_called(name)} has {width} channels for each place",
                expected=f"channels {self.first} to {(end or self.first + 1) - 1} among them",
                hint="Compare `first` and `count` in the parameters with the shape of the output",
            )
        return Rows(rows.values[:, self.first : end], rows.grid)


@dataclass(frozen=True, eq=False)
class Rows:
    """Attributes:
    values: places x channels.
    grid: height and width of the map they come from, or None.
    """

    values: Array
    grid: Grid | None = None


def output_of(outputs: Outputs, name: int | str) -> Array:
    """By name, or by position.

    Raises:
        FeedsError: naming the outputs there are.
    """
    if isinstance(name, int) and -len(outputs) <= name < len(outputs):
        return list(outputs.values())[name]
    if isinstance(name, str) and name in outputs:
        return outputs[name]
    raise FeedsError(
        f"The parameters speak of {_called(name).lower()}, and the model gives {', '.join(outputs)}",
        expected="names of outputs, or positions from 0 on",
    )


def floats(array: Array) -> Array:
    """In a type to calculate with: float32, or float64 where it is that already."""
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def arranged(array: Array, arrangement: Arrangement, anchors: int, name: int | str) -> Rows:
    """One output as places x channels."""
    body = _without_batch(array, arrangement, name)
    if arrangement == "rows":
        return Rows(body)
    if arrangement == "columns":
        return Rows(body.T)
    if arrangement == "values":
        return Rows(body[:, None])
    return _of_map(body, arrangement, anchors, name)


def _of_map(body: Array, arrangement: Arrangement, anchors: int, name: int | str) -> Rows:
    if arrangement == "anchors_first":
        found, high, wide, channels = body.shape
        if found != anchors:
            raise _misfit(body, name, f"{anchors} anchors first")
        rows = body.transpose(1, 2, 0, 3).reshape(-1, channels)
        return Rows(rows, (high, wide))
    whole = body.shape[0 if arrangement == "maps" else 2]
    if whole % anchors:
        raise _misfit(body, name, f"channels that {anchors} anchors can share")
    if arrangement == "maps_last":
        high, wide, _ = body.shape
        return Rows(body.reshape(high * wide * anchors, whole // anchors), (high, wide))
    _, high, wide = body.shape
    apart = body.reshape(anchors, whole // anchors, high * wide)
    rows = apart[0].T if anchors == 1 else apart.transpose(2, 0, 1).reshape(-1, whole // anchors)
    return Rows(rows, (high, wide))


def _without_batch(array: Array, arrangement: Arrangement, name: int | str) -> Array:
    rank = _RANKS[arrangement]
    if array.ndim == rank + 1 and array.shape[0] == 1:
        return np.asarray(array[0])
    if array.ndim == rank:
        return array
    raise _misfit(
        array, name, f"{rank} axes for the arrangement {arrangement}, after a batch of one"
    )


def _misfit(array: Array, name: int | str, expected: str) -> FeedsError:
    return FeedsError(
        f"{_called(name)} has shape {list(array.shape)}",
        expected=expected,
        hint="Give its arrangement in the parameters of the task",
    )


def _called(name: int | str) -> str:
    return f"Output {name}" if isinstance(name, int) else f"The output {name!r}"


def joined(
    parts: Sequence[Part], outputs: Outputs, usual: Arrangement, anchors: Sequence[int] = (1,)
) -> list[Rows]:
    """Several parts side by side, level by level: an offset and a size that make one box, say."""
    read = [part.read(outputs, usual, anchors) for part in parts]
    if len(read) == 1:
        return read[0]
    if len({len(levels) for levels in read}) > 1:
        raise FeedsError(
            f"The parts have {', '.join(str(len(levels)) for levels in read)} outputs",
            expected="as many for each, one for each level",
        )
    return [
        Rows(np.concatenate([each.values for each in level], 1), level[0].grid)
        for level in zip(*read, strict=True)
    ]

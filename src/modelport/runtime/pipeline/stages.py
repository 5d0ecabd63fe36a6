"""What a pipeline is made of: stages, and what each of them looks at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from modelport.errors import UsageError

if TYPE_CHECKING:
    from modelport.bundle.read import Bundle
    from modelport.runtime.predictor import Predictor

Quarters = Literal[90, 180, 270]
Share = Annotated[float, Field(ge=0, le=1)]


class _Data(BaseModel):
    """Strict, frozen, and JSON in the manifest; the first field may be given without its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, first: str | None = None, /, **fields: Any) -> None:
        name = next(iter(type(self).model_fields))
        super().__init__(**({} if first is None else {name: first}), **fields)


class Turn(_Data):
    """Turns crops by what another stage said of them.

    Attributes:
        by: name of an earlier stage that classifies the same crops.
        degrees: by label, how far to turn, counter-clockwise.
        min_score: with a score below it, a crop stays as it is.
    """

    by: str
    degrees: dict[str, Quarters]
    min_score: Share = 0.0


class Crops(_Data):
    """A stage takes what an earlier one found, one crop for each thing.

    Attributes:
        of: name of the earlier stage, whose result holds boxes or quads.
        cut: `box` cuts out the upright box; `quad` brings four corners to a rectangle, by perspective;
            `warp` brings the box to a fixed size with its aspect ratio kept, as top-down pose does.
        scale: a `box` grows about its middle by this factor.
        square: whether a `box` grows to a square.
        upright: a `quad` at least so many times higher than wide is turned by a quarter to the left,
            for readers of lines; None turns nothing.
        size: height and width of a `warp`, which needs it, or of a `quad`.
        padding: factor by which a `warp` shows more than the box.
        udp: whether a `warp` counts as models trained with `use_udp=True` do.
        turn: turns crops by what another stage said of them.
        labels: only things with one of these labels.
        min_score: only things with at least that score.
        top: only so many of a result, those of the highest scores.
    """

    of: str
    cut: Literal["box", "quad", "warp"] = "box"
    scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    square: bool = False
    upright: PositiveFloat | None = 1.5
    size: tuple[PositiveInt, PositiveInt] | None = None
    padding: Annotated[float, Field(gt=0, le=100)] = 1.25
    udp: bool = False
    turn: Turn | None = None
    labels: tuple[str, ...] | None = None
    min_score: Share = 0.0
    top: PositiveInt | None = None


@dataclass(frozen=True)
class Stage:
    """One model of a pipeline.

    Attributes:
        name: unique; results are found under it.
        model: a bundle, the path of one, or a predictor.
        takes: crops of an earlier stage; by default the whole picture.
        variant: of the bundle; by default the one that `Predictor` takes.
    """

    name: str
    model: Predictor | Bundle | str | Path
    takes: Crops | None = None
    variant: str | None = None


Links = Sequence[tuple[str, Crops | None]]
"""The graph alone: the name of each stage and what it takes."""


def check_links(links: Links) -> None:
    """Raises UsageError where the stages cannot be meant, naming the one that is wrong."""
    if not links:
        raise UsageError("The pipeline has no stages", expected="at least one")
    earlier: dict[str, Crops | None] = {}
    for name, takes in links:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name, re.ASCII):
            raise UsageError(
                f"A stage has the name {name!r}",
                expected="letters, digits, and the signs . - _, at most 64 of them",
            )
        if name in earlier:
            raise UsageError(
                f"Two stages have the name {name!r}", expected="a name of its own for each"
            )
        if takes is not None:
            _check_takes(name, takes, earlier)
        earlier[name] = takes


def _check_takes(name: str, takes: Crops, earlier: dict[str, Crops | None]) -> None:
    known = ", ".join(earlier) or "none"
    if takes.of not in earlier:
        raise UsageError(
            f"The stage {name!r} takes crops of {takes.of!r}, which is no stage before it",
            expected=f"one of the stages before it: {known}",
        )
    if (takes.cut == "warp" and takes.size is None) or (takes.cut == "box" and takes.size):
        raise UsageError(
            f"The stage {name!r} has cut={takes.cut!r} and size={takes.size}",
            expected="a size (height, width) with cut='warp', and none with cut='box'",
        )
    turn = takes.turn
    if turn is None:
        return
    other = earlier.get(turn.by)
    if other is None or other.of != takes.of:
        raise UsageError(
            f"The stage {name!r} turns crops by {turn.by!r}",
            expected=f"an earlier stage that takes crops of {takes.of!r} as well",
        )

"""What a pipeline is made of: stages, and what each of them looks at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from modelport.errors import UsageError
from modelport.runtime.decoding.nms import Nms
from modelport.runtime.pipeline.pyramid import Pyramid
from modelport.runtime.transforms.frames import Level
from modelport.runtime.transforms.regions import Edges

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
        clip: whether a `box` ends where the picture ends; else what is outside is filled.
        fill: the grey level outside, or one each for red, green and blue.
        edges: which pixels are whole in a `box`: all it `touched`; or from `floor` to `floor`, where the
            last one that it touches is left out.
        nominal: whether places are counted as if the crop were exactly the `box`, though that was brought
            to whole pixels and cut off at the picture: as MTCNN counts.
        upright: a `quad` at least so many times higher than wide is turned by a quarter to the left,
            for readers of lines; None turns nothing.
        size: height and width of a `warp`, which needs it, or of a `quad`.
        padding: factor by which a `warp` shows more than the box.
        udp: whether a `warp` counts as models trained with `use_udp=True` do.
        turn: turns crops by what another stage said of them.
        labels: only things with one of these labels.
        min_score: only things with at least that score.
        top: only so many of a result, those of the highest scores.
        join: what is found in all crops of one result is thinned out together, and becomes one result that
            stands where the earlier one stands: a stage that refines. None where what is found in a
            crop hangs on the thing it was cut for.
    """

    of: str
    cut: Literal["box", "quad", "warp"] = "box"
    scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    square: bool = False
    clip: bool = True
    fill: Level | tuple[Level, Level, Level] = 0
    edges: Edges = "touched"
    nominal: bool = False
    upright: PositiveFloat | None = 1.5
    size: tuple[PositiveInt, PositiveInt] | None = None
    padding: Annotated[float, Field(gt=0, le=100)] = 1.25
    udp: bool = False
    turn: Turn | None = None
    labels: tuple[str, ...] | None = None
    min_score: Share = 0.0
    top: PositiveInt | None = None
    join: Nms | None = None


@dataclass(frozen=True)
class Stage:
    """One model of a pipeline.

    Attributes:
        name: unique; results are found under it.
        model: a bundle, the path of one, or a predictor.
        takes: crops of an earlier stage; by default the whole picture.
        variant: of the bundle; by default the one that `Predictor` takes.
        pyramid: scales at which it looks at what it takes; by default as it is.
        keep: whether its result is in what the pipeline gives; else it is a step on the way.
    """

    name: str
    model: Predictor | Bundle | str | Path
    takes: Crops | None = None
    variant: str | None = None
    pyramid: Pyramid | None = None
    keep: bool = True


class Link(Protocol):
    """What a stage is in the graph, whatever its model."""

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> Crops | None: ...

    @property
    def keep(self) -> bool: ...


def check_links(links: Sequence[Link]) -> None:
    """Raises UsageError where the stages cannot be meant, naming the one that is wrong."""
    if not links:
        raise UsageError("The pipeline has no stages", expected="at least one")
    homes: dict[str, str | None] = {}
    kept: set[str] = set()
    for link in links:
        name = link.name
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name, re.ASCII):
            raise UsageError(
                f"A stage has the name {name!r}",
                expected="letters, digits, and the signs . - _, at most 64 of them",
            )
        if name in homes:
            raise UsageError(
                f"Two stages have the name {name!r}", expected="a name of its own for each"
            )
        if link.takes is not None:
            _check_takes(name, link.takes, homes)
        homes[name] = home = _home(link.takes, homes)
        if link.keep and home is not None and home not in kept:
            raise UsageError(
                f"The result of the stage {name!r} hangs on things of {home!r}, which are not kept",
                expected=f"keep=True for {home!r}, keep=False for {name!r}, or a join of its crops",
            )
        if link.keep:
            kept.add(name)
    if not kept:
        raise UsageError("The pipeline keeps no result", expected="a stage with keep=True")


def _home(takes: Crops | None, homes: dict[str, str | None]) -> str | None:
    """The stage on whose things a result hangs; None where it hangs on the picture."""
    if takes is None:
        return None
    return takes.of if takes.join is None else homes[takes.of]


def _check_takes(name: str, takes: Crops, homes: dict[str, str | None]) -> None:
    known = ", ".join(homes) or "none"
    if takes.of not in homes:
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
    if turn is not None and homes.get(turn.by) != takes.of:
        raise UsageError(
            f"The stage {name!r} turns crops by {turn.by!r}",
            expected=f"an earlier stage that takes crops of {takes.of!r} as well",
        )

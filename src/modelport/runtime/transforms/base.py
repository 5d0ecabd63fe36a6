"""The contract of a transform, and what a list of them gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, PrivateAttr

from modelport.errors import DataError, UsageError
from modelport.runtime.placement import Placement, Sides
from modelport.runtime.timeline import Timeline
from modelport.types import Array

if TYPE_CHECKING:
    from typing_extensions import Self

FIRST = ""
"""Stands for the name of the model's first input, which transforms need not know."""


ReadFile = Callable[[str], bytes]
"""Gives the bytes of a file that a transform names: from a disk, or out of a bundle."""


class Stage(IntEnum):
    """In this order the transforms of a list stand."""

    DECODE = 0
    SPACE = 1
    NUMBERS = 2
    LAYOUT = 3


class Transform(BaseModel):
    """One step from a file to a tensor. It is data: frozen, strict, and JSON in the manifest.

    A subclass has a field `kind` whose default is its name in the registry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: ClassVar[Stage]
    medium: ClassVar[str] = "picture"
    """What it works on; a list is of one medium: `picture`, `text` or `sound`."""
    assets: ClassVar[tuple[str, ...]] = ()
    """Fields that name a file it needs: a path of the disk in a `Source`, one of the bundle in a manifest."""

    _read: ReadFile | None = PrivateAttr(default=None)

    def reading(self, read: ReadFile) -> Self:
        """A copy whose files come from there; without it, they are files of the disk."""
        bound = self.model_copy()
        bound._read = read
        return bound

    def asset(self, field: str) -> bytes:
        """The bytes of the file that one of its `assets` names.

        Raises:
            DataError: where there is no such file.
        """
        path = str(getattr(self, field))
        if self._read is not None:
            return self._read(path)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            kind = getattr(self, "kind", type(self).__name__)
            raise DataError(
                f"The transform {kind} needs the file {path}, which cannot be read "
                f"({error.strerror or error})",
                hint=f"Check the path in its field {field}",
            ) from error


class Spatial(Transform, ABC):
    """A transform that changes where pixels are, and how many."""

    stage: ClassVar[Stage] = Stage.SPACE

    @abstractmethod
    def apply(self, image: Image.Image) -> Image.Image:
        """The picture after it; a new one, or the same where nothing changes."""

    @abstractmethod
    def sides(self, width: int, height: int) -> Sides:
        """Width and height after it, of a picture that has these before it."""

    @abstractmethod
    def matrix(self, width: int, height: int) -> Array:
        """3 x 3: from places before it to places after it; see `Placement`."""

    def wanted(self, width: int, height: int) -> Sides:
        """The width and height that it resizes such a picture to first: a JPEG may come as small."""
        return width, height


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a preprocessor makes of one input.

    Attributes:
        tensors: by name of the model's input, each with a batch axis of one; `FIRST` is the name of
            the first input.
        placement: where a picture's pixels went; None for other media.
        timeline: of sound, whose first axis is then windows of one recording, in order.
    """

    tensors: Mapping[str, Array]
    placement: Placement | None = None
    timeline: Timeline | None = None

    @property
    def first(self) -> Array:
        return next(iter(self.tensors.values()))


@dataclass
class Stopwatch:
    """Milliseconds by stage, in the order the stages ran."""

    stages_ms: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=perf_counter)

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now


class Preprocessor(ABC):
    """A compiled list of transforms: from what a caller has to what the model takes.

    It keeps no state between calls, and several threads may use it at once.
    """

    medium: ClassVar[str]

    def __init__(self, transforms: Sequence[Transform]) -> None:
        """Checks the order; a subclass compiles."""
        check_order(transforms)

    @abstractmethod
    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """The tensors of one input. The caller owns them.

        Raises:
            DataError: where the item cannot be read.
        """

    def __call__(self, item: Any) -> Array:
        """The first tensor alone."""
        return self.prepare(item).first

    def is_one(self, item: Any) -> bool:
        """Whether a list or tuple stands for one input, where others are several."""
        return False

    def together(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """The same for one engine call: made equally long where that changes no answer."""
        return list(prepared)

    def samples(self, path: Path) -> Iterator[Prepared]:
        """What a file of data holds: one input, or several."""
        yield self.prepare(path)

    def as_in_training(self) -> Preprocessor | None:
        """The same without its short cuts, or None where it takes none."""
        return None

    @property
    def unit(self) -> float:
        """The least change of the first tensor that counts: for pictures, that of one grey level."""
        return 1.0


def check_order(transforms: Sequence[Transform]) -> None:
    """Raises UsageError where the transforms cannot be meant in the order they are given."""
    kinds = [str(getattr(transform, "kind", "?")) for transform in transforms]
    stages = [transform.stage for transform in transforms]
    single = [k for k, stage in zip(kinds, stages, strict=True) if stage != Stage.SPACE]
    media = {transform.medium for transform in transforms}
    if stages != sorted(stages) or len(set(single)) != len(single) or len(media) > 1:
        raise UsageError(
            f"The transforms are {', '.join(kinds)}",
            expected="decode, then resizes and crops, then normalize, then layout",
        )

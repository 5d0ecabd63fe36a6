"""The contract of a task: outputs in, a result for people out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from modelport.errors import UsageError
from modelport.runtime.placement import Placement
from modelport.runtime.timeline import Timeline
from modelport.types import Array, Feeds, Outputs


class Parameters(BaseModel):
    """Base of the parameters of a task: strict, frozen, each with a default where there is a usual one.

    They stand in the manifest, so nothing about a model is left to code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=Parameters)
R = TypeVar("R", bound="Result")


@dataclass(frozen=True)
class Context(Generic[P]):
    """What decoding may need besides the outputs.

    Attributes:
        parameters: those of the task, from the manifest.
        labels: class names by index, or None.
        placement: where the pixels of the tensor lie in the picture; None where nobody prepared one,
            and places are then those of the tensor.
        feeds: what the model was fed, by input, where the caller of `decode` has it: the mask of a
            text's tokens, say.
        timeline: when the windows of a recording were; None for other media.
    """

    parameters: P
    labels: Sequence[str] | None = None
    placement: Placement | None = None
    feeds: Feeds | None = None
    timeline: Timeline | None = None

    def label(self, index: int) -> str:
        """The name of a class, or `class 7` where it has none."""
        if self.labels is not None and 0 <= index < len(self.labels):
            return self.labels[index]
        return f"class {index}"

    @property
    def tensor(self) -> tuple[int, int] | None:
        """Width and height of the picture's tensor: as it was prepared, or else of what was fed."""
        if self.placement is not None:
            return self.placement.tensor
        fed = (self.feeds or {}).values()
        return next((sides for array in fed if (sides := _picture_sides(array)) is not None), None)


def _picture_sides(array: Array) -> tuple[int, int] | None:
    """Width and height of an array that may be a picture, channels first or last."""
    if array.ndim != 4:
        return None
    if array.shape[1] in CHANNELS:
        return array.shape[3], array.shape[2]
    return (array.shape[2], array.shape[1]) if array.shape[3] in CHANNELS else None


CHANNELS = (1, 3, 4)
"""How many channels pictures have."""


@dataclass(frozen=True)
class Result:
    """Base of all results.

    Attributes:
        timing_ms: milliseconds by stage, where the predictor was asked for one input.
    """

    timing_ms: Mapping[str, float] = field(default_factory=dict, kw_only=True, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        raise TypeError(f"{type(self).__name__} has no JSON form")

    def rows(self) -> list[dict[str, Any]]:
        """The result as rows of a table: one for each thing found; values are text and numbers."""
        flat = self.to_json().items()
        return [{key: value for key, value in flat if not isinstance(value, (list, dict))}]


class Task(ABC, Generic[P, R]):
    """Decodes the outputs of one sample. Stateless: everything it needs is in the context."""

    name: ClassVar[str]
    summary: ClassVar[str]
    Parameters: ClassVar[type[Parameters]] = Parameters
    has_classes: ClassVar[bool] = False
    """Whether the first output holds one score to a class, so that answers can be compared."""
    holds: ClassVar[type[Result] | None] = None
    """The class of its results where these hold a tuple of things with places and nothing else, so that
    several results are joined to one."""

    def parameters(self, given: Mapping[str, Any]) -> P:
        """The parameters, defaults filled in.

        Raises:
            UsageError: naming the one that is unknown, missing or wrong.
        """
        try:
            return self.Parameters.model_validate(dict(given))  # type: ignore[return-value]
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            told = first["msg"].removeprefix("Value error, ")
            what = f"parameter {where!r} of the task {self.name} is"
            if not where:
                what = f"parameters of the task {self.name} are"
            raise UsageError(
                f"The {what} wrong: {told}",
                expected=f"some of {', '.join(self.Parameters.model_fields)}",
            ) from error

    @abstractmethod
    def decode(self, outputs: Outputs, context: Context[P]) -> R:
        """The result of one sample.

        Args:
            outputs: by name, each with a batch axis of one.

        Raises:
            FeedsError: where the outputs are not what the parameters say.
        """

    @abstractmethod
    def draw(self, image: Image.Image, result: R) -> Image.Image:
        """A copy of the picture with the result on it."""

    @abstractmethod
    def describe(self, result: R) -> str:
        """The result in a few words: `tabby cat 0.87`."""

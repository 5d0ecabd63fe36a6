"""The contract of a task: outputs in, a result for people out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from PIL import Image

from modelport.types import Outputs


@dataclass(frozen=True)
class Context:
    """What decoding may need besides the outputs.

    Attributes:
        labels: class names by index, or None.
        parameters: the task's parameters, from the manifest.
    """

    labels: Sequence[str] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


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


class Task(ABC):
    """Decodes the outputs of one sample. Stateless: everything it needs is in the context."""

    name: ClassVar[str]
    summary: ClassVar[str]
    has_classes: ClassVar[bool] = False
    """Whether the first output holds one score to a class, so that answers can be compared."""

    @abstractmethod
    def decode(self, outputs: Outputs, context: Context) -> Result:
        """The result of one sample.

        Args:
            outputs: by name, each with a batch axis of one.
        """

    @abstractmethod
    def draw(self, image: Image.Image, result: Any) -> Image.Image:
        """A copy of the picture with the result on it."""

    @abstractmethod
    def describe(self, result: Any) -> str:
        """The result in a few words: `tabby cat 0.87`."""

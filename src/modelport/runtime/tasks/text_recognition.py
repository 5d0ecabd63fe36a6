"""What a line of text says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from modelport.errors import FeedsError
from modelport.runtime.decoding.reading import not_nan, of_shape
from modelport.runtime.decoding.sheet import Sheet
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs


@dataclass(frozen=True)
class Text(Result):
    """What a line says.

    Attributes:
        text: its characters; empty where the model sees none.
        score: the mean probability of its characters, 0 where there are none.
    """

    text: str
    score: float

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "score": self.score}


class TextRecognitionParameters(Parameters):
    """Attributes:
    decoder: `ctc` joins equal neighbours and leaves out blanks; `attention` reads to the end token.
    scores: what the model gives for each step: `probabilities`, or `logits` (softmax follows).
    blank: class that stands for nothing, of `ctc`; -1 is the last one.
    end: class that ends the text, of `attention`; -1 is the last one.
    ignored: further classes that stand for no character, such as a start token or padding.
    """

    decoder: Literal["ctc", "attention"] = "ctc"
    scores: Literal["probabilities", "logits"] = "probabilities"
    blank: int = 0
    end: int = 0
    ignored: tuple[int, ...] = ()


class TextRecognitionTask(Task[TextRecognitionParameters, Text]):
    """Labels are the characters by class, those of blanks and tokens included.

    Source of CTC, of which this is the best path: Graves et al., Connectionist temporal classification,
    ICML 2006.
    """

    name: ClassVar[str] = "text_recognition"
    summary: ClassVar[str] = "the characters of a line of text"
    Parameters: ClassVar[type[Parameters]] = TextRecognitionParameters

    def decode(self, outputs: Outputs, context: Context[TextRecognitionParameters]) -> Text:
        wanted = context.parameters
        steps = _steps(next(iter(outputs.values())), context)
        best = steps.argmax(1)
        count = steps.shape[1]
        kept = _of_ctc(best, wanted.blank % count)
        if wanted.decoder == "attention":
            kept = _before(best, wanted.end % count)
        kept &= ~np.isin(best, [index % count for index in wanted.ignored])
        text = "".join(context.label(int(index)) for index in best[kept])
        if not text:
            return Text("", 0.0)
        return Text(text, float(_chances(steps[kept], wanted).mean()))

    def draw(self, image: Image.Image, result: Text) -> Image.Image:
        drawn = image.convert("RGB")
        Sheet(drawn).caption(self.describe(result))
        return drawn

    def describe(self, result: Text) -> str:
        return f"{result.text!r} {result.score:.2f}" if result.text else "no text"


def _steps(output: Array, context: Context[TextRecognitionParameters]) -> Array:
    """The scores of each step: steps x classes."""
    of_shape(output, ("1", "steps", "classes"), "scores of characters")
    if context.labels is None or len(context.labels) != output.shape[2]:
        known = "no labels" if context.labels is None else f"{len(context.labels)} labels"
        raise FeedsError(
            f"The model tells {output.shape[2]} classes apart and the bundle has {known}",
            expected="a character for each class, blanks and tokens included",
            hint="Deploy the model with such labels; an ONNX file may have them in its metadata",
        )
    return not_nan(output[0].astype(np.float32, copy=False), "scores of characters")


def _of_ctc(best: Array, blank: int) -> Array:
    """Which steps begin a character: those that differ from the one before, and are no blank."""
    return np.asarray((np.diff(best, prepend=-1) != 0) & (best != blank))


def _before(best: Array, end: int) -> Array:
    """Which steps come before the first end token."""
    return np.asarray(~np.logical_or.accumulate(best == end))


def _chances(steps: Array, wanted: TextRecognitionParameters) -> Array:
    """The probability of the best class of each step."""
    top = steps.max(1, keepdims=True)
    if wanted.scores == "probabilities":
        return np.asarray(top[:, 0])
    return np.asarray(1 / np.exp((steps - top).astype(np.float64)).sum(1))

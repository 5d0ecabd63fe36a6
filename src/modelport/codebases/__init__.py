"""Codebases: how the models of a library are built, fed and labelled; one file for each library.

A model of one is spelled `timm:resnet18?num_classes=10`; see `spelling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.codebases.base import Codebase
from modelport.codebases.spelling import has_spelling, read_spelling
from modelport.errors import UnknownNameError
from modelport.registry import Registry

if TYPE_CHECKING:
    from modelport.frontends.source import Source

__all__ = ["CODEBASES", "Codebase", "is_codebase", "open_codebase"]

CODEBASES: Registry[Codebase] = Registry(
    "codebase",
    {
        "timm": "modelport.codebases.timm:Timm",
        "torchvision": "modelport.codebases.torchvision:Torchvision",
        "transformers": "modelport.codebases.transformers:Transformers",
        "segmentation_models_pytorch": (
            "modelport.codebases.segmentation_models_pytorch:SegmentationModelsPytorch"
        ),
    },
)


def is_codebase(text: str) -> bool:
    """Whether the text is meant as `CODEBASE:MODEL`, if only with a slip in the codebase's name.

    Files are not: `model.py:build`, `folder/model:build` and `model.onnx` have a dot or a slash
    before the colon, or no colon.
    """
    return has_spelling(text)


def open_codebase(text: str, *, pretrained: bool) -> Source:
    """Builds the model that the text names, with its inputs, transforms, task and labels.

    Args:
        text: `CODEBASE:MODEL`, with options as in a URL: `timm:resnet18?num_classes=10`.
        pretrained: whether to ask the library for its own weights; the option `pretrained` of the
            text overrides it. Pass False where weights are loaded afterwards.

    Raises:
        UnknownNameError: where no codebase, or no model of it, has that name.
        UsageError: where an option is not one of the model's.
        SourceError: where the library is not installed, cannot build the model or get its weights.
    """
    spelling = read_spelling(text)
    try:
        codebase = CODEBASES.get(spelling.codebase)
    except UnknownNameError as error:
        if error.hint is None:
            error.hint = "Write FILE.py:FUNCTION for a function of your own"
        raise
    options = dict(spelling.options)
    wanted = spelling.flag(options.pop("pretrained", pretrained), "pretrained")
    source = codebase.build(spelling.model, options, wanted)
    return codebase.with_random_note(source, text) if pretrained and not wanted else source

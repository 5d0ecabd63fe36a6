"""Feeds of the user's own that a model is traced, run and proved with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelport.errors import FeedsError, UsageError
from modelport.feeds import load_arrays, sample_files
from modelport.types import Array, Dim, Feeds, Signature, TensorSpec


def read_examples(given: Any, specs: Sequence[TensorSpec]) -> list[Feeds]:
    """Feeds in the order of the inputs.

    Args:
        given: one example or several. An example is a mapping from every input's name to its tensor or
            array, or the path of an `.npz` file with these names, or of a folder of such files.

    Raises:
        UsageError: where one does not fit the inputs.
        DataError: where a file cannot be read.
    """
    alone = isinstance(given, (str, Path, Mapping))
    feeds = [feeds for item in ([given] if alone else given) for feeds in _read(item, specs)]
    if len(feeds) == 1:
        raise UsageError(
            "One example was given",
            expected="two or more, in other values: what was fixed while tracing shows on the second",
        )
    signature = Signature(tuple(specs), ())
    for number, example in enumerate(feeds, start=1):
        try:
            signature.check(example)
        except FeedsError as error:
            raise UsageError(
                f"Example {number} of {len(feeds)} does not fit the inputs: {error.seen}",
                expected=error.expected,
                hint="Examples have every input by name, in sizes that --input allows",
            ) from error
    return [{spec.name: example[spec.name] for spec in specs} for example in feeds]


def _read(item: Any, specs: Sequence[TensorSpec]) -> list[Feeds]:
    if isinstance(item, Mapping):
        return [{str(name): _array(value) for name, value in item.items()}]
    if isinstance(item, (str, Path)):
        first = specs[0].name if specs else ""
        return [load_arrays(path, first) for path in sample_files(Path(item))]
    raise UsageError(
        f"An example is a {type(item).__name__}",
        expected="a mapping from names of inputs to tensors, or the path of an .npz file",
    )


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def traceable(examples: Sequence[Feeds], specs: Sequence[TensorSpec]) -> Feeds:
    """The first example whose free sizes are 2 or more: torch takes 0 and 1 for constants.

    Raises:
        UsageError: where there is none.
    """
    for example in examples:
        if all(
            size >= 2
            for spec in specs
            for size, wanted in zip(example[spec.name].shape, spec.shape, strict=True)
            if isinstance(wanted, Dim)
        ):
            return example
    raise UsageError(
        "Every example has a free size of 0 or 1",
        expected="one with all free sizes at 2 or more: an export would take 1 for a constant",
    )

"""From a picture to a result, by way of a bundle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle
from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.errors import FeedsError
from modelport.feeds import fill_batch
from modelport.runtime import transforms
from modelport.runtime.placement import Placement
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context, Result
from modelport.runtime.transforms.base import Prepared, Preprocessor, Stopwatch
from modelport.runtime.trust import refusal
from modelport.types import Array, Dim, Outputs, Running, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Predictor:
    """A loaded bundle, ready to answer. A context manager; not safe for use by several threads.

    Args:
        bundle: an open bundle, or the path of one.
        variant: name of the variant to run; by default the first usable one, the bundle's default
            before the others that stayed within its budget.
        trust: whether native code that the bundle brings may run: libraries of operators.
        running: how the engine runs: `threads` (0 leaves the number to it), `device` (`cuda:0` say),
            `isolated` (in a process of its own, so that no crash reaches this one), `memory_bytes`
            (the most it may take, which needs such a process), `warm_up` (runs on zeros first).

    Raises:
        BundleError: where the bundle cannot be read, or brings native code and is not trusted.
        EngineUnavailableError: where this machine has no engine for any (or for that) variant.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        *,
        variant: str | None = None,
        trust: bool = False,
        **running: Unpack[Running],
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        manifest = self.bundle.manifest
        self.variant: VariantEntry = _usable_variant(self.bundle, variant)
        self.session: Session = open_variant(self.bundle, self.variant, trust=trust, **running)
        self.preprocessor: Preprocessor | None = preprocessor_of(self.bundle)
        self.task = TASKS.get(manifest.task.name)
        self._context = Context(self.task.parameters(manifest.task.parameters), manifest.labels)
        self._inputs = self.bundle.signature.inputs

    @overload
    def __call__(self, inputs: list[Any] | tuple[Any, ...]) -> list[Result]: ...

    @overload
    def __call__(self, inputs: Any) -> Any: ...

    def __call__(self, inputs: Any) -> Any:
        """Answers for one input, or for each of a list.

        Args:
            inputs: a path, the bytes of a file, a PIL picture, or a uint8 array of height x width x 3
                in RGB order; or a list of these. A model without transforms takes feeds as `infer`.

        Returns:
            One result, whose kind depends on the task (`Classification`, say), or a list of them.
        """
        if isinstance(inputs, (list, tuple)):
            return list(self._many(inputs))
        return self._one(inputs)

    def infer(self, feeds: Array | Mapping[str, Array]) -> Any:
        """Answers for a ready tensor, or feeds by input name; the batch size must be one."""
        return self._answer(self._feeds(feeds), Stopwatch(), None)

    def prepare(self, item: Any) -> Prepared:
        """What the transforms make of one input. Several threads may do this at once.

        Raises:
            DataError: where the item cannot be read.
            FeedsError: where the model has no transforms.
        """
        if self.preprocessor is None:
            return Prepared(self._feeds(item))
        return self.preprocessor.prepare(item)

    def answer(self, prepared: Sequence[Prepared]) -> list[Result]:
        """The results for prepared inputs, with as few engine calls as their shapes allow."""
        step = self.batch_size
        found: list[Result] = []
        for group in _of_one_shape(prepared, step):
            found += self._batch(group) if step > 1 else [self._single(each) for each in group]
        return found

    @property
    def batch_size(self) -> int:
        """How many inputs one engine call takes."""
        return 1 if self.preprocessor is None else _batch_size(self._inputs[0])

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _one(self, item: Any) -> Any:
        if self.preprocessor is None:
            return self.infer(item)
        watch = Stopwatch()
        return self._single(self.preprocessor.prepare(item, watch), watch)

    def _single(self, prepared: Prepared, watch: Stopwatch | None = None) -> Result:
        first = self._inputs[0]
        feeds = {name or first.name: array for name, array in prepared.tensors.items()}
        filled = {**feeds, first.name: fill_batch(feeds[first.name], first)}
        alone = filled[first.name] is not feeds[first.name]
        return self._answer(filled, watch or Stopwatch(), prepared.placement, alone=alone)

    def _answer(
        self,
        feeds: Mapping[str, Array],
        watch: Stopwatch,
        placement: Placement | None,
        *,
        alone: bool = False,
    ) -> Result:
        """Runs and decodes; `alone` takes the first sample of a batch that was filled up."""
        outputs = self.session.run(feeds)
        watch.lap("inference")
        result = self._decoded(_sample(outputs, 0) if alone else outputs, placement)
        watch.lap("result")
        return replace(result, timing_ms=watch.stages_ms)

    def _decoded(self, outputs: Outputs, placement: Placement | None) -> Result:
        context = (
            self._context if placement is None else replace(self._context, placement=placement)
        )
        found: Result = self.task.decode(outputs, context)
        return found

    def _many(self, items: Sequence[Any]) -> Iterator[Result]:
        step = self.batch_size
        if step == 1:
            yield from (self._one(item) for item in items)
            return
        for start in range(0, len(items), step):
            yield from self.answer([self.prepare(item) for item in items[start : start + step]])

    def _batch(self, group: Sequence[Prepared]) -> list[Result]:
        """One engine call for tensors of one shape."""
        feeds = {}
        for name in group[0].tensors:
            spec = self._spec(name)
            feeds[spec.name] = fill_batch(np.concatenate([p.tensors[name] for p in group]), spec)
        outputs = self.session.run(feeds)
        return [
            self._decoded(_sample(outputs, index), each.placement)
            for index, each in enumerate(group)
        ]

    def _spec(self, name: str) -> TensorSpec:
        return next((spec for spec in self._inputs if spec.name == name), self._inputs[0])

    def _feeds(self, feeds: Any) -> dict[str, Array]:
        if isinstance(feeds, np.ndarray):
            return {self._inputs[0].name: feeds}
        if isinstance(feeds, Mapping):
            return dict(feeds)
        raise FeedsError(
            f"The model has no transforms, so a {type(feeds).__name__} cannot become a tensor",
            expected="a numpy array, or a dictionary of arrays by input name",
            hint="Deploy it with transforms to call it on pictures",
        )


def _batch_size(spec: TensorSpec) -> int:
    """How many samples one call takes: the most that a free batch allows, or 8 without a limit."""
    size = spec.shape[0] if spec.shape else 1
    return (size.maximum or max(8, size.minimum)) if isinstance(size, Dim) else size


def _of_one_shape(prepared: Sequence[Prepared], most: int) -> Iterator[list[Prepared]]:
    """Neighbours whose tensors have equal shapes, at most so many together."""
    group: list[Prepared] = []
    for each in prepared:
        if group and (len(group) == most or _shapes(each) != _shapes(group[0])):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _shapes(prepared: Prepared) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in prepared.tensors.values()]


def _sample(outputs: Outputs, index: int) -> Outputs:
    return {name: array[index : index + 1] for name, array in outputs.items()}


def load(
    path: str | Path,
    *,
    variant: str | None = None,
    trust: bool = False,
    **running: Unpack[Running],
) -> Predictor:
    """Opens a bundle and returns a predictor: `load("build/model")("photo.jpg")`.

    Args:
        variant, trust, running: see `Predictor`.
    """
    return Predictor(path, variant=variant, trust=trust, **running)


def open_variant(
    bundle: Bundle, variant: VariantEntry, *, trust: bool = False, **running: Unpack[Running]
) -> Session:
    refused = refusal(bundle, variant, trust)
    if refused is not None:
        raise refused
    engine = ENGINES.get(variant.engine)
    return engine.load(bundle.artifact(variant), **running)


def preprocessor_of(bundle: Bundle) -> Preprocessor | None:
    """The bundle's transforms, compiled; None where it has none."""
    return transforms.preprocessor(transforms.parse(bundle.manifest.transforms))


def _usable_variant(bundle: Bundle, name: str | None) -> VariantEntry:
    """The named variant; or the default, or the next accepted one whose engine is here."""
    if name is not None:
        return bundle.manifest.variant(name)
    missing = ""
    for variant in bundle.variants:
        if variant.verdict == "converted":  # nobody has measured it, so nobody gets it unasked
            continue
        engine = ENGINES.get(variant.engine)
        reason = engine.available() or engine.cannot_run()
        if reason is None:
            if missing:
                warnings.warn(f"{missing}; running {variant.name} instead", stacklevel=3)
            return variant
        missing = missing or f"The default variant {variant.name} cannot run here: {reason}"
    return bundle.manifest.variant()  # loading it will say what to install

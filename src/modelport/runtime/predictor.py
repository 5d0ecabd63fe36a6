"""From a picture to a result, by way of a bundle."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import length_hint
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle
from modelport.closing import Closing
from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.errors import FeedsError, UsageError
from modelport.feeds import fill_batch
from modelport.runtime import transforms
from modelport.runtime.batching import Batcher
from modelport.runtime.mapping import Errors, Mapped
from modelport.runtime.opening import opened
from modelport.runtime.state import State, over_windows
from modelport.runtime.steps import Steps
from modelport.runtime.streams import WORTHWHILE, SideBySide, fitting_streams, shared
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context, Parameters, Result
from modelport.runtime.transforms.base import FIRST, Prepared, Preprocessor, Stopwatch
from modelport.runtime.trust import refusal
from modelport.types import Array, Dim, Outputs, Running, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from modelport.runtime.stream import Stream
    from modelport.runtime.tiling import Tiler


class Predictor(Closing):
    """A loaded bundle, ready to answer. A context manager.

    Several threads may use it: one at a time runs the engine. `map` and `batcher` make the most of that.

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
        self.bundle = bundle if isinstance(bundle, Bundle) else opened(bundle)
        manifest = self.bundle.manifest
        self.variant: VariantEntry = _usable_variant(self.bundle, variant)
        self._running: Running = running
        self._open = partial(open_variant, self.bundle, self.variant, trust=trust)
        self.session: Session = self._open(**running)
        self.preprocessor: Preprocessor | None = preprocessor_of(self.bundle)
        self.task = TASKS.get(manifest.task.name)
        self._context = Context(self.task.parameters(manifest.task.parameters), manifest.labels)
        self._inputs = self.bundle.signature.inputs
        self._state = State(self._context.parameters, self.bundle.signature)
        self._tiler = _tiler(self._context.parameters, self._inputs)
        self._turn, self._opening = Lock(), Lock()
        self._wide: dict[int, SideBySide] = {}

    @overload
    def __call__(self, inputs: list[Any] | tuple[Any, ...]) -> list[Result]: ...

    @overload
    def __call__(self, inputs: Any) -> Any: ...

    def __call__(self, inputs: Any) -> Any:
        """Answers for one input, or for each of a list.

        Args:
            inputs: a path, the bytes of a file, a PIL picture, or a uint8 array of height x width x 3
                in RGB order; or a list of these. A model of texts takes a text, or a `Path` to one; a
                model of sound takes a path, the bytes of a file, `(rate, array)`, or an array at its own
                rate. A model without transforms takes feeds as `infer`.

        Returns:
            One result, whose kind depends on the task (`Classification`, say), or a list of them.
        """
        if isinstance(inputs, (list, tuple)) and not self._is_one(inputs):
            return list(self._many(inputs))
        return self._one(inputs)

    def infer(self, feeds: Array | Mapping[str, Array]) -> Any:
        """Answers for a ready tensor, or feeds by input name; the batch size must be one."""
        watch, named = Stopwatch(), {**self._state.first_feeds, **self._feeds(feeds)}
        return self._timed(self._run(named), Prepared(named), watch)

    def state(self) -> State:
        """What the model remembers between calls, as before the first one."""
        return self._state.fresh()

    def stream(self, *, keep: bool = False) -> Stream:
        """What answers for a recording, or for other inputs, that come bit by bit; see `Stream`."""
        from modelport.runtime.stream import Stream

        return Stream(self, keep=keep)

    def map(
        self,
        items: Iterable[Any],
        *,
        batch: int | None = None,
        workers: int | None = None,
        streams: int | None = None,
        in_flight: int | None = None,
        errors: Errors = "keep",
    ) -> Mapped:
        """The results for inputs, in their order, as they come; see `Mapped` for the arguments.

        Inputs are read while others run. One that cannot be answered is a `Failed`, with its error.

        Args:
            streams: how many sessions of the engine run side by side, with the threads shared among
                them. By default one for each thread, where there are more than a few inputs, the model
                is small, and it runs on processors in this process; otherwise one.
        """
        if streams is None:
            streams = self.fitting_streams(length_hint(items, WORTHWHILE))
        steps = self.side_by_side(streams)
        return Mapped(
            steps, items, batch=batch, workers=workers, in_flight=in_flight, errors=errors
        )

    def fitting_streams(self, inputs: int = WORTHWHILE) -> int:
        """How many sessions `map` opens for so many inputs, where nobody says."""
        return fitting_streams(self._running, self.variant, inputs)

    def side_by_side(self, streams: int) -> Steps:
        """The steps of this predictor with so many sessions, which are opened once and kept.

        Raises:
            UsageError: where the number is below one.
        """
        if streams < 1:
            raise UsageError(f"streams is {streams}", expected="at least 1")
        if streams == 1:
            return self
        with self._opening:
            if streams not in self._wide:
                open_session = partial(self._open, **shared(self._running, streams))
                self._wide[streams] = SideBySide(self, open_session, streams)
            return self._wide[streams]

    def batcher(
        self, max_batch: int | None = None, max_wait_ms: float = 0.0, max_waiting: int = 256
    ) -> Batcher:
        """Answers many threads or coroutines at once; see `Batcher` for the arguments."""
        return Batcher(self, max_batch=max_batch, max_wait_ms=max_wait_ms, max_waiting=max_waiting)

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """What the transforms make of one input. Several threads may do this at once.

        Raises:
            DataError: where the item cannot be read.
            FeedsError: where the model has no transforms.
        """
        if self.preprocessor is None:
            return Prepared(self._feeds(item))
        return self.preprocessor.prepare(item, watch)

    def run(self, prepared: Sequence[Prepared], session: Session | None = None) -> list[Outputs]:
        """The outputs for prepared inputs, with as few engine calls as their shapes allow.

        Args:
            session: one of the same variant that nobody else uses; by default the predictor's own, which
                one thread at a time has.
        """
        return [
            outputs
            for group in _of_one_shape(self._evened(prepared), self.batch_size)
            for outputs in self._together(group, session)
        ]

    def decode(self, outputs: Outputs, prepared: Prepared) -> Result:
        """The result of one input. Several threads may do this at once."""
        context = replace(
            self._context,
            placement=prepared.placement,
            feeds={self._spec(name).name: array for name, array in prepared.tensors.items()},
            timeline=prepared.timeline,
        )
        found: Result = self.task.decode(outputs, context)
        return found

    def answer(self, prepared: Sequence[Prepared]) -> list[Result]:
        """The results for prepared inputs, with as few engine calls as their shapes allow."""
        pairs = zip(self.run(prepared), prepared, strict=True)
        return [self.decode(outputs, each) for outputs, each in pairs]

    streams = 1
    """How many threads may be in `run` at once, each with a session; see `side_by_side`."""

    @property
    def batch_size(self) -> int:
        """How many inputs one engine call takes."""
        alone = self.preprocessor is None or self._tiler is not None
        return 1 if alone else _batch_size(self._inputs[0])

    def close(self) -> None:
        self.session.close()
        for steps in self._wide.values():
            steps.close()

    def _one(self, item: Any) -> Any:
        if self.preprocessor is None:
            return self.infer(item)
        watch = Stopwatch()
        return self._single(self.preprocessor.prepare(item, watch), watch)

    def _single(self, prepared: Prepared, watch: Stopwatch) -> Result:
        (outputs,) = self._together([prepared])
        return self._timed(outputs, prepared, watch)

    def _timed(self, outputs: Outputs, prepared: Prepared, watch: Stopwatch) -> Result:
        watch.lap("inference")
        result = self.decode(outputs, prepared)
        watch.lap("result")
        return replace(result, timing_ms=watch.stages_ms)

    def _many(self, items: Sequence[Any]) -> Iterator[Result]:
        step = self.batch_size
        if step == 1:
            yield from (self._one(item) for item in items)
            return
        for start in range(0, len(items), step):
            yield from self.answer([self.prepare(item) for item in items[start : start + step]])

    def _together(self, group: Sequence[Prepared], session: Session | None = None) -> list[Outputs]:
        """One engine call for tensors of one shape, or all those of one recording; the outputs of each."""
        if group[0].timeline is not None:
            return [self.carry(each, self.state(), session) for each in group]
        feeds, filled = {}, len(group) > 1
        for name, first in group[0].tensors.items():
            spec = self._spec(name)
            parts = [each.tensors[name] for each in group]
            joined = first if len(group) == 1 else np.concatenate(parts)
            feeds[spec.name] = fill_batch(joined, spec)
            filled = filled or feeds[spec.name] is not joined
        outputs = self._run({**self._state.first_feeds, **feeds}, session)
        if not filled:
            return [outputs]
        return [_sample(outputs, index) for index in range(len(group))]

    def carry(self, prepared: Prepared, state: State, session: Session | None = None) -> Outputs:
        """The outputs for one input, or for the windows of a recording in order; the state moves on."""
        feeds = {self._spec(name).name: array for name, array in prepared.tensors.items()}
        once = partial(self._run, session=session)
        if prepared.timeline is None:
            return state.run(once, feeds)
        most = self.batch_size if state.is_empty else state.windows
        run = partial(state.run, once)
        return over_windows(run, feeds, most, self._inputs[0])

    def _is_one(self, item: Any) -> bool:
        return self.preprocessor is not None and self.preprocessor.is_one(item)

    def _evened(self, prepared: Sequence[Prepared]) -> Iterator[Prepared]:
        """Texts of one call are made equally long."""
        step = self.batch_size
        for start in range(0, len(prepared), step):
            some = prepared[start : start + step]
            yield from some if self.preprocessor is None else self.preprocessor.together(some)

    def _run(self, feeds: Mapping[str, Array], session: Session | None = None) -> Outputs:
        if session is None:
            with self._turn:
                return self._run_in(self.session, feeds)
        return self._run_in(session, feeds)

    def _run_in(self, session: Session, feeds: Mapping[str, Array]) -> Outputs:
        if self._tiler is not None and self._tiler.cuts(feeds[self._inputs[0].name]):
            return self._tiler.run(session.run, feeds, _batch_size(self._inputs[0]))
        return session.run(feeds)

    def _spec(self, name: str) -> TensorSpec:
        if name == FIRST:
            return self._inputs[0]
        for spec in self._inputs:
            if spec.name == name:
                return spec
        raise FeedsError(
            f"There is a tensor for the input {name!r}, which the model does not have",
            expected=f"tensors for {', '.join(repr(spec.name) for spec in self._inputs)}",
            hint="Change the name in the transforms, or set it to null",
        )

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


def _tiler(parameters: Parameters, inputs: Sequence[TensorSpec]) -> Tiler | None:
    if getattr(parameters, "tiling", None) is None:
        return None
    from modelport.runtime.tiling import tiler_of  # few models are tiled

    return tiler_of(parameters, inputs)


def _batch_size(spec: TensorSpec) -> int:
    """How many samples one call takes: the most that a free batch allows, or 8 without a limit."""
    size = spec.shape[0] if spec.shape else 1
    return (size.maximum or max(8, size.minimum)) if isinstance(size, Dim) else size


def _of_one_shape(prepared: Iterable[Prepared], most: int) -> Iterator[list[Prepared]]:
    """Neighbours whose tensors have equal shapes, at most so many together."""
    group: list[Prepared] = []
    for each in prepared:
        if group and (len(group) == most or not _may_join(group[0], each)):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _may_join(one: Prepared, other: Prepared) -> bool:
    """Whether both are one sample each, of one shape."""
    pairs = zip(one.tensors.values(), other.tensors.values(), strict=True)
    alike = all(a.ndim and a.shape == b.shape and len(a) == 1 for a, b in pairs)
    return alike and one.timeline is None


def _sample(outputs: Outputs, index: int) -> Outputs:
    return {name: array[index : index + 1] for name, array in outputs.items()}


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

    def read(path: str) -> bytes:
        return bytes(bundle.blob(path).view())

    return transforms.preprocessor(transforms.parse(bundle.manifest.transforms, read))


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

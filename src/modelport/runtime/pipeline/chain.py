"""Several models as one: what one finds, the next one looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from PIL import Image

from modelport.bundle.read import Bundle
from modelport.closing import Closing
from modelport.errors import UsageError
from modelport.runtime.mapping import Errors, Mapped
from modelport.runtime.opening import opened
from modelport.runtime.pipeline import manifest, saving, telling
from modelport.runtime.pipeline.chained import Chained
from modelport.runtime.pipeline.joining import check_joins
from modelport.runtime.pipeline.stages import Stage, check_links
from modelport.runtime.pipeline.walking import Step, walk
from modelport.runtime.predictor import Predictor
from modelport.runtime.steps import Steps
from modelport.runtime.streams import WORTHWHILE
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Stopwatch
from modelport.runtime.transforms.image import Decode
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import Running

if TYPE_CHECKING:
    from typing_extensions import Unpack

PICTURES_AT_ONCE = 4
"""Crops of so many pictures run together; more would hold more of them in memory."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture that is decoded, ready for all stages.

    Attributes:
        decode_ms: how long that took.
    """

    image: Image.Image
    decode_ms: float


class Pipeline(Closing):
    """Models chained as a graph, ready to answer like a predictor. A context manager.

        Pipeline([Stage("lines", "detector"), Stage("text", "reader", Crops("lines", cut="quad"))])

    The picture is decoded once. All crops of a picture, and of several pictures, run in batches, and all
    places come back in pixels of the picture, however deep the stage.

    Args:
        stages: in an order in which each comes after those it takes from.
        name: of the whole.
        trust, running: see `Predictor`; for the bundles that are opened here.

    Raises:
        UsageError: where the stages cannot be meant, or a model takes no pictures.
        BundleError, EngineUnavailableError: as `Predictor` does.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        name: str = "pipeline",
        trust: bool = False,
        **running: Unpack[Running],
    ) -> None:
        check_links(stages)
        self.name = name
        with ExitStack() as predictors:  # closed again where a later one cannot be opened
            opener = _Opener(predictors, trust=trust, running=running)
            self.steps = tuple(opener.step(stage) for stage in stages)
            self._own = predictors.pop_all()
        self.tasks = {step.name: step.predictor.task for step in self.steps}
        self._decode = Decode(orientation=_orientation(self.steps))

    @classmethod
    def load(cls, path: str | Path, *, trust: bool = False, **running: Unpack[Running]) -> Pipeline:
        """Opens what `save` wrote, folder or archive.

        Raises:
            BundleError: where there is none, or its manifest is wrong.
        """
        path = Path(path)
        entries = manifest.read(path)
        bundles = {entry.bundle: Bundle(path, entry.bundle) for entry in entries.stages}
        stages = [
            Stage(
                entry.name,
                bundles[entry.bundle],
                entry.takes,
                entry.variant,
                entry.pyramid,
                entry.keep,
            )
            for entry in entries.stages
        ]
        return cls(stages, name=entries.name, trust=trust, **running)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the pipeline with its bundles to a folder, or to a file ending in `.zip`.

        Raises:
            BundleError: where it exists and may not be replaced, or cannot be written.
        """
        saving.save(self.name, self.steps, Path(path), overwrite=overwrite)
        return Path(path)

    @overload
    def __call__(self, inputs: list[Any] | tuple[Any, ...]) -> list[Result]: ...

    @overload
    def __call__(self, inputs: Any) -> Chained: ...

    def __call__(self, inputs: Any) -> Any:
        """Answers for one picture, or for each of a list; see `Predictor.__call__` for what one is.

        Raises:
            DataError: where a picture cannot be read. A crop that cannot be answered is a `Failed` in its
                place.
        """
        if not isinstance(inputs, (list, tuple)):
            return self.run([self.prepare(inputs)])[0]
        found: list[Result] = []
        for start in range(0, len(inputs), PICTURES_AT_ONCE):
            some = inputs[start : start + PICTURES_AT_ONCE]
            found += self.answer([self.prepare(item) for item in some])
        return found

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Opened:
        """The decoded picture. Several threads may do this at once.

        Raises:
            DataError: where it cannot be read.
        """
        own = Stopwatch()
        image = self._decode(item)
        if image.info or type(image) is not Image.Image:
            image = image.copy()
            image.info = {}  # or a later stage might turn its crops by the orientation of the file
        own.lap("decode")
        if watch is not None:
            watch.lap("decode")
        return Opened(image, own.stages_ms["decode"])

    def run(self, prepared: Sequence[Opened], steps: Sequence[Step] | None = None) -> list[Chained]:
        """The results for decoded pictures, together; the time of a stage is shared equally by all."""
        watch = Stopwatch()
        nodes = walk(steps or self.steps, [each.image for each in prepared], watch)
        share = {stage: spent / len(prepared) for stage, spent in watch.stages_ms.items()}
        pairs = zip(nodes, prepared, strict=True)
        dropped = {step.name for step in self.steps if not step.keep}
        return [node.frozen({"decode": each.decode_ms, **share}, dropped) for node, each in pairs]

    def decode(self, outputs: Chained, prepared: Opened) -> Chained:
        """The result of one picture, which `run` has made: for what takes predictors in steps."""
        return outputs

    def answer(self, prepared: Sequence[Opened]) -> list[Result]:
        return list(self.run(prepared))

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
        """The results for pictures, in their order, as they come; see `Predictor.map`."""
        if streams is None:
            streams = self.fitting_streams(length_hint(items, WORTHWHILE))
        steps = self.side_by_side(streams)
        return Mapped(
            steps, items, batch=batch, workers=workers, in_flight=in_flight, errors=errors
        )

    def fitting_streams(self, inputs: int = WORTHWHILE) -> int:
        """As many as suit all its models; see `Predictor.fitting_streams`."""
        return min(step.predictor.fitting_streams(inputs) for step in self.steps)

    def side_by_side(self, streams: int) -> Steps:
        """The steps of this pipeline, each model with so many sessions; see `Predictor.side_by_side`."""
        if streams == 1:
            return self
        wide = [
            replace(step, answering=step.predictor.side_by_side(streams)) for step in self.steps
        ]
        return _Wide(self, wide, streams)

    streams = 1

    @property
    def batch_size(self) -> int:
        """How many pictures run together."""
        return PICTURES_AT_ONCE

    @property
    def task(self) -> Pipeline:
        """What draws and describes results: the pipeline itself, where a predictor has its task."""
        return self

    def draw(self, image: Image.Image, result: Chained) -> Image.Image:
        """A copy of the picture with what all stages found on it."""
        return telling.draw(self.tasks, image, result)

    def describe(self, result: Chained) -> str:
        """The result in a few words."""
        return telling.describe(self.tasks, result)

    def close(self) -> None:
        """Closes the predictors that were opened here; those that the caller brought stay open."""
        self._own.close()


class _Wide:
    """The steps of a pipeline whose models have several sessions each."""

    def __init__(self, pipeline: Pipeline, steps: Sequence[Step], streams: int) -> None:
        self._pipeline, self._steps, self.streams = pipeline, steps, streams
        self.batch_size = pipeline.batch_size
        self.prepare, self.decode = pipeline.prepare, pipeline.decode

    def run(self, prepared: Sequence[Opened]) -> list[Chained]:
        return self._pipeline.run(prepared, self._steps)


class _Opener:
    """Predictors for stages; those that share a bundle and a variant share one."""

    def __init__(self, predictors: ExitStack, *, trust: bool, running: Running) -> None:
        self._stack, self._trust, self._running = predictors, trust, running
        self._bundles: dict[Path, Bundle] = {}
        self._predictors: dict[tuple[int, str | None], Predictor] = {}

    def step(self, stage: Stage) -> Step:
        predictor = self._predictor(stage)
        _check_pictures(stage.name, predictor)
        if stage.pyramid is not None or (stage.takes is not None and stage.takes.join is not None):
            check_joins(stage.name, predictor.task)
        return Step(stage.name, predictor, stage.takes, pyramid=stage.pyramid, keep=stage.keep)

    def _predictor(self, stage: Stage) -> Predictor:
        if isinstance(stage.model, Predictor):
            return stage.model
        bundle = stage.model if isinstance(stage.model, Bundle) else self._bundle(stage.model)
        key = (id(bundle), stage.variant)
        if key not in self._predictors:
            self._predictors[key] = self._stack.enter_context(
                Predictor(bundle, variant=stage.variant, trust=self._trust, **self._running)
            )
        return self._predictors[key]

    def _bundle(self, path: str | Path) -> Bundle:
        place = Path(path).resolve()
        if place not in self._bundles:
            self._bundles[place] = opened(path)
        return self._bundles[place]


def _check_pictures(stage: str, predictor: Predictor) -> None:
    if isinstance(predictor.preprocessor, PicturePreprocessor):
        return
    seen = "no transforms" if predictor.preprocessor is None else predictor.preprocessor.medium
    raise UsageError(
        f"The model of the stage {stage!r} takes no pictures: it has {seen}",
        expected="a bundle with transforms that make tensors of pictures",
        hint="Deploy the model with transforms",
    )


def _orientation(steps: Sequence[Step]) -> Literal["ignore", "exif"]:
    """`exif` where a stage that sees the whole picture wants it upright: one picture for all."""
    decodes = [
        step.predictor.preprocessor.decode
        for step in steps
        if step.takes is None and isinstance(step.predictor.preprocessor, PicturePreprocessor)
    ]
    upright = any(decode.orientation == "exif" for decode in decodes)
    return "exif" if upright else "ignore"

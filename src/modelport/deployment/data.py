"""The user's data: what calibration sees, and what fidelity is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from modelport.errors import DataError
from modelport.feeds import IMAGE_SUFFIXES, Sample, fill_batch, read_samples, sample_files
from modelport.frontends.source import LoadedSource
from modelport.runtime.one_tile import one_tile
from modelport.runtime.state import State
from modelport.runtime.tasks import TASKS
from modelport.runtime.transforms import preprocessor
from modelport.runtime.transforms.base import Preprocessor
from modelport.types import Feeds, Signature

MOST_CALIBRATION = 300
"""Ranges settle well before; more only takes longer."""

MOST_VERIFICATION = 1000

_KINDS = {"picture": "pictures", "text": "texts", "sound": "recordings", "clip": "clips"}

SYNTHETIC = 8
"""Random feeds that stand in where there is no data."""


@dataclass(frozen=True)
class Data:
    """Attributes:
    samples: what fidelity is measured on.
    calibration: feeds for quantization; empty where the user gave no data.
    origin: where the samples come from, in words.
    held_out: whether no sample was seen in calibration.
    """

    samples: Sequence[Sample]
    calibration: Sequence[Feeds]
    origin: str
    held_out: bool
    notes: list[str] = field(default_factory=list)

    @property
    def feeds(self) -> list[Feeds]:
        return [sample.feeds for sample in self.samples]

    @property
    def intended(self) -> list[Feeds] | None:
        """The feeds as in training, where the pipeline's own take a short cut."""
        if not any(sample.intended for sample in self.samples):
            return None
        return [sample.intended or sample.feeds for sample in self.samples]


def gather(
    loaded: LoadedSource,
    signature: Signature,
    calibration: str | Path | None,
    verification: str | Path | None,
) -> Data:
    """Reads both folders; without any, random feeds stand in for verification."""
    transforms = loaded.source.transforms
    preprocess = preprocessor(transforms)
    notes: list[str] = []
    parameters = TASKS.get(loaded.source.task).parameters(loaded.source.parameters)
    preprocess = one_tile(preprocess, parameters, signature.inputs)
    others = State(parameters, signature).first_feeds
    seen = _read(calibration, signature, preprocess, others, MOST_CALIBRATION, notes)
    unseen = _read(verification, signature, preprocess, others, MOST_VERIFICATION, notes)
    kind = _KINDS["picture" if preprocess is None else preprocess.medium]
    feeds = [sample.feeds for sample in seen]
    if unseen:
        assert verification is not None
        return Data(unseen, feeds, f"{kind} or feeds in {Path(verification).name}", True, notes)
    if seen:
        assert calibration is not None
        notes.append(
            "fidelity was measured on the calibration data; --verification takes other data"
        )
        return Data(seen, feeds, f"{kind} or feeds in {Path(calibration).name}", False, notes)
    notes.append(
        "no data was given, so fidelity was measured on random feeds, which say little about real ones"
    )
    random = [Sample(f"random-{seed}", loaded.example_feeds(seed)) for seed in range(SYNTHETIC)]
    return Data(random, [], "random feeds", True, notes)


def _read(
    folder: str | Path | None,
    signature: Signature,
    preprocess: Preprocessor | None,
    others: Feeds,
    most: int,
    notes: list[str],
) -> list[Sample]:
    if folder is None:
        return []
    medium = "picture" if preprocess is None else preprocess.medium
    count = len(sample_files(Path(folder), medium))
    found = read_samples(Path(folder), signature, preprocess, others)
    samples = list(islice(found, most))
    if count > most:
        notes.append(f"of {count} files in {Path(folder).name} the first {most} were used")
    elif next(found, None) is not None:
        notes.append(f"of the texts in {Path(folder).name} the first {most} were used")
    if not samples:
        raise DataError(f"{folder} holds no text", expected="one text to a line")
    exact = None if preprocess is None else preprocess.as_in_training()
    if exact is None:
        return samples
    first = signature.inputs[0]
    return [
        replace(sample, intended={first.name: fill_batch(exact(sample.file), first)})
        if _is_picture(sample)
        else sample
        for sample in samples
    ]


def _is_picture(sample: Sample) -> bool:
    return sample.file is not None and sample.file.suffix.lower() in IMAGE_SUFFIXES

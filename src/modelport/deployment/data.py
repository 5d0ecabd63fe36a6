"""The user's data: what calibration sees, and what fidelity is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from modelport.feeds import IMAGE_SUFFIXES, Sample, fill_batch, read_samples, sample_files
from modelport.frontends.source import LoadedSource
from modelport.runtime.transforms import preprocessor
from modelport.runtime.transforms.base import Preprocessor
from modelport.types import Feeds, Signature

MOST_CALIBRATION = 300
"""Ranges settle well before; more only takes longer."""

MOST_VERIFICATION = 1000

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
    seen = _read(calibration, signature, preprocess, MOST_CALIBRATION, notes)
    unseen = _read(verification, signature, preprocess, MOST_VERIFICATION, notes)
    feeds = [sample.feeds for sample in seen]
    if unseen:
        assert verification is not None
        return Data(unseen, feeds, f"pictures or feeds in {Path(verification).name}", True, notes)
    if seen:
        assert calibration is not None
        notes.append(
            "fidelity was measured on the calibration data; --verification takes other data"
        )
        return Data(seen, feeds, f"pictures or feeds in {Path(calibration).name}", False, notes)
    notes.append(
        "no data was given, so fidelity was measured on random feeds, which say little about real ones"
    )
    random = [Sample(f"random-{seed}", loaded.example_feeds(seed)) for seed in range(SYNTHETIC)]
    return Data(random, [], "random feeds", True, notes)


def _read(
    folder: str | Path | None,
    signature: Signature,
    preprocess: Preprocessor | None,
    most: int,
    notes: list[str],
) -> list[Sample]:
    if folder is None:
        return []
    count = len(sample_files(Path(folder)))
    if count > most:
        notes.append(f"of {count} files in {Path(folder).name} the first {most} were used")
    samples = list(islice(read_samples(Path(folder), signature, preprocess), most))
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

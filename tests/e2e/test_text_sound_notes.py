"""Basic Pitch finds the notes that its own code finds, and those that were played."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

import modelport
from modelport import transforms as T
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.note_events import NotesParameters, notes_of
from weights import unpacked

Array = np.ndarray[Any, Any]
RATE = 22050
NAMES = {"active": "StatefulPartitionedCall:1", "onsets": "StatefulPartitionedCall:2"}
MELODY = [(0.3, 60), (0.8, 64), (1.3, 67), (1.9, 72), (2.5, 57), (3.1, 69), (3.7, 62), (4.4, 65)]
"""When a note of half a second begins, and its MIDI number."""


def played(notes: list[tuple[float, int]], seconds: float) -> Array:
    """Plucked strings: harmonics that fade, the high ones faster."""
    sound = np.zeros(int(RATE * seconds))
    time = np.arange(int(RATE * 0.5)) / RATE
    for start, pitch in notes:
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(
            np.sin(2 * np.pi * hertz * k * time) * np.exp(-time * (2 + k)) / k for k in range(1, 9)
        )
        tone = tone * np.minimum(1, time / 0.005) * np.minimum(1, (0.5 - time) / 0.02)
        first = int(start * RATE)
        sound[first : first + len(time)] += 0.2 * tone
    noise = np.random.default_rng(0).normal(0, 1e-3, len(sound))
    return np.asarray(sound + noise, np.float32)


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    """The package's own code; what it imports for files, MIDI and other engines is not needed."""
    folder = unpacked("pypi:basic-pitch==0.4.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "warning", lambda *_: None)  # of the engines that are not installed
        patch.syspath_prepend(str(folder))
        for name in ("librosa", "mir_eval", "pretty_midi", "resampy"):
            patch.setitem(sys.modules, name, MagicMock())
        creation = importlib.import_module("basic_pitch.note_creation")
        inference = importlib.import_module("basic_pitch.inference")
        creation.librosa.core.frames_to_time = lambda frames, sr, hop_length: (
            frames * hop_length / sr
        )
        yield SimpleNamespace(creation=creation, inference=inference)


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = unpacked("pypi:basic-pitch==0.4.0") / "basic_pitch" / "saved_models" / "icassp_2022"
    output = tmp_path_factory.mktemp("pitch") / "bundle"
    modelport.deploy(
        modelport.Source(
            folder / "nmp.onnx",
            transforms=[
                T.Waveform(rate=RATE),
                T.Windows(hop=36164, before=3840, after=3840),
                T.SoundLayout(axes="ntc"),
            ],
            task="notes",
            parameters=NAMES,
        ),
        output=output, engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    return modelport.load(output, threads=1)


def theirs(package: Any, sound: Array) -> tuple[dict[str, Array], list[Any]]:
    """Activations and note events, start, end, pitch and amplitude, in seconds."""
    folder = unpacked("pypi:basic-pitch==0.4.0") / "basic_pitch" / "saved_models" / "icassp_2022"
    package.inference.librosa.load.return_value = (sound, RATE)
    found = package.inference.run_inference("sound.wav", folder / "nmp.onnx")
    events = package.creation.output_to_notes_polyphonic(
        found["note"].copy(), found["onset"].copy(), 0.5, 0.3, 11, True, None, None, True
    )
    times = package.creation.model_frames_to_time(len(found["note"]))
    return found, [(times[start], times[end], pitch, power) for start, end, pitch, power in events]


@pytest.mark.parametrize("seconds", [5.2, 1.2, 13.0])
def test_notes_equal_the_packages_own(seconds: float, listener: Predictor, package: Any) -> None:
    sound = np.resize(played(MELODY, 5.2), int(seconds * RATE))
    _, wanted = theirs(package, sound)
    found = listener(sound).notes
    assert len(found) == len(wanted) >= 2
    ordered = sorted(wanted, key=lambda each: (each[0], each[2]))
    for note, (start, end, pitch, power) in zip(found, ordered, strict=True):
        assert note.pitch == pitch
        assert note.strength == pytest.approx(power, abs=1e-3)
        # The package corrects its times by a constant for each 172 frames, and ours are exact.
        assert note.start_s == pytest.approx(start, abs=0.03)
        assert note.end_s == pytest.approx(end, abs=0.03)


def test_what_was_played_is_found(listener: Predictor) -> None:
    found = listener(played(MELODY, 5.2)).notes
    for start, pitch in MELODY:
        near = [note for note in found if note.pitch == pitch and abs(note.start_s - start) < 0.05]
        assert len(near) == 1, f"{pitch} at {start} s"
        assert near[0].end_s > start + 0.15
    assert [note.name for note in found if note.pitch == 69] == ["A4"]


@pytest.mark.parametrize("seed", range(5))
def test_notes_of_any_activations_equal_the_packages_own(seed: int, package: Any) -> None:
    generator = np.random.default_rng(seed)
    wanted = NotesParameters(active="a", onsets="o")
    for _ in range(20):
        count = int(generator.integers(3, 300))
        active, onsets = (
            activations(generator, count, width) * scale for width, scale in ((30, 1), (3, 0.9))
        )
        mine = notes_of(active.astype(np.float64), onsets.astype(np.float64), wanted)
        events = package.creation.output_to_notes_polyphonic(
            active.copy(), onsets.copy(), 0.5, 0.3, 11, True, None, None, True
        )
        assert [each[:3] for each in mine] == [(s, e, pitch - 21) for s, e, pitch, _ in events]
        np.testing.assert_allclose([e[3] for e in mine], [e[3] for e in events], atol=1e-5)


def activations(generator: np.random.Generator, count: int, width: int) -> Array:
    walk = generator.standard_normal((count + width, 88)).cumsum(0)
    smooth = (walk[width:] - walk[:-width]) / np.sqrt(width)
    return np.asarray(1 / (1 + np.exp(-2 * (smooth - generator.uniform(0, 2)))), np.float32)

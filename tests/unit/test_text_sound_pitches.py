"""From activations to notes: where they begin, how long they last, and what is left over."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.note_events import Note, Notes, NotesTask, notes_of
from modelport.runtime.timeline import Timeline

Array = np.ndarray[Any, Any]
TASK = NotesTask()
PLAIN = {"active": "a", "onsets": "o", "patience": 2, "longer_than": 3, "overlap": 0}


def parameters(**changed: Any) -> Any:
    return TASK.parameters({**PLAIN, "infer_onsets": False, "without_onset": False, **changed})


def grids(frames: int = 40, pitches: int = 6) -> tuple[Array, Array]:
    return np.zeros((frames, pitches)), np.zeros((frames, pitches))


def found(active: Array, onsets: Array, **changed: Any) -> list[tuple[int, int, int]]:
    return [span[:3] for span in notes_of(active, onsets, parameters(**changed))]


def test_a_note_lasts_from_its_onset_as_long_as_its_pitch_sounds() -> None:
    active, onsets = grids()
    active[10:20, 2] = 0.8
    active[14, 2] = 0.1  # one frame below is no end
    onsets[9:12, 2] = 0.2, 0.9, 0.3
    assert found(active, onsets) == [(10, 20, 2)]
    assert notes_of(active, onsets, parameters())[0][3] == pytest.approx((9 * 0.8 + 0.1) / 10)
    assert found(active, onsets, onset_threshold=0.95) == []
    assert found(active, onsets, longer_than=10) == []
    assert found(active, onsets, patience=1) == [(10, 14, 2)]


def test_a_flat_onset_is_no_peak() -> None:
    active, onsets = grids()
    active[10:20, 2], onsets[10:12, 2] = 0.8, 0.9
    assert found(active, onsets) == []


def test_neighbours_in_pitch_are_part_of_a_note() -> None:
    active, onsets = grids()
    active[10:20, 1:4] = 0.8
    onsets[10, 2], onsets[10, 1] = 0.9, 0.0
    assert found(active, onsets, without_onset=True) == [(10, 20, 2)]


def test_what_is_left_gives_notes_without_an_onset() -> None:
    active, onsets = grids()
    active[10:20, 2] = 0.8
    assert found(active, onsets) == []
    assert found(active, onsets, without_onset=True) == [(10, 19, 2)]
    active[30:32, 5] = 0.9
    assert found(active, onsets, without_onset=True) == [(10, 19, 2)], "that is too short"


def test_a_sudden_rise_is_an_onset_too() -> None:
    active, onsets = grids()
    onsets[2, 5] = 0.8
    active[10:20, 2] = 0.9, *[0.7] * 9
    assert found(active, onsets, infer_onsets=True) == [(10, 20, 2)]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 60))
def test_notes_stay_in_the_grid_and_are_long_enough(seed: int, frames: int) -> None:
    generator = np.random.default_rng(seed)
    active, onsets = generator.random((2, frames, 5)) ** 2
    before = active.copy()
    wanted = parameters(infer_onsets=True, without_onset=True)
    for start, end, pitch, strength in notes_of(active, onsets, wanted):
        assert 0 <= start < end <= frames
        assert end - start > 3
        assert 0 <= pitch < 5
        assert 0 <= strength <= 1
    np.testing.assert_array_equal(active, before)


def test_windows_are_joined_and_keep_their_time() -> None:
    active, onsets = np.zeros((2, 3, 14, 4), np.float32)
    active[0, 8:14, 1] = 0.9  # the last two frames are cut off: the next window has them
    active[1, 0:7, 1] = 0.9
    onsets[0, 8, 1] = 0.9
    wanted = TASK.parameters(
        {**PLAIN, "overlap": 4, "hop": 10, "frames_per_s": 100, "without_onset": False}
    )
    timeline = Timeline(1000, 300, 105)  # five samples more than ten frames
    result = TASK.decode({"a": active, "o": onsets}, Context(wanted, timeline=timeline))
    assert result.notes == (Note(0.06, 0.155, 22, pytest.approx(0.9)),)


def test_notes_have_names_and_words() -> None:
    result = Notes((Note(0.5, 1.0, 60, 0.5), Note(1.0, 2.0, 70, 0.25)))
    assert [note.name for note in result.notes] == ["C4", "A#4"]
    assert json.loads(json.dumps(result.to_json()))["notes"][1] == {
        "start_s": 1.0, "end_s": 2.0, "pitch": 70, "strength": 0.25, "name": "A#4",
    }  # fmt: skip
    assert TASK.describe(result) == "2 notes: C4 0.5 s, A#4 1.0 s"
    assert TASK.describe(Notes(())) == "no notes"
    image = Image.new("RGB", (4, 4))
    assert TASK.draw(image, result).tobytes() == image.tobytes()


def test_wrong_outputs_are_said() -> None:
    right = np.zeros((1, 5, 4), np.float32)
    context = Context(TASK.parameters(PLAIN))
    assert TASK.decode({"a": right, "o": right}, context) == Notes(())
    with pytest.raises(FeedsError, match=r"The outputs are 'a' \[1, 5, 4\]\. Expected windows x"):
        TASK.decode({"a": right}, context)
    with pytest.raises(FeedsError, match=r"have shapes \[1, 5, 4\] and \[1, 5, 3\]"):
        TASK.decode({"a": right, "o": right[..., :3]}, context)
    with pytest.raises(EngineError, match="The output 'o' holds a NaN"):
        TASK.decode({"a": right, "o": right * np.nan}, context)
    with pytest.raises(UsageError, match="The parameter 'active' of the task notes is wrong"):
        TASK.parameters({})

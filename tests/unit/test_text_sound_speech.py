"""From probabilities to speech: when it begins, when it ends, and what is too short."""

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
from modelport.runtime.tasks.voice_activity import VoiceActivity, VoiceActivityTask
from modelport.runtime.timeline import Timeline

TASK = VoiceActivityTask()
PLAIN = {"min_speech_ms": 0, "min_silence_ms": 100, "pad_ms": 0}
"""With windows of 100 ms: one is enough for speech, and a silence is over with the second."""


def heard(probabilities: Any, samples: int | None = None, **parameters: Any) -> VoiceActivity:
    """Windows of 100 samples, a thousand samples in a second."""
    row = np.asarray(probabilities, np.float32)
    timeline = Timeline(1000, len(row) * 100 if samples is None else samples, 100)
    context = Context(TASK.parameters({**PLAIN, **parameters}), timeline=timeline)
    return TASK.decode({"p": row[:, None]}, context)


def ends(result: VoiceActivity) -> list[tuple[int, int]]:
    return [(each.start, each.end) for each in result.segments]


def test_speech_begins_at_the_threshold_and_ends_below_the_release() -> None:
    assert ends(heard([0.1, 0.5, 0.4, 0.36, 0.34, 0.1, 0.9, 0.1, 0.1])) == [(100, 400), (600, 700)]
    assert ends(heard([0.1, 0.5, 0.4, 0.36, 0.34, 0.1, 0.1], release=0.2)) == [(100, 500)]
    assert ends(heard([0.1, 0.49, 0.49])) == []


def test_speech_goes_on_over_a_short_silence() -> None:
    row = [0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1]
    assert ends(heard(row, min_silence_ms=200)) == [(0, 400), (700, 800)]
    assert ends(heard(row, min_silence_ms=400)) == [(0, 1100)]


def test_short_speech_is_none() -> None:
    row = [0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1]
    assert ends(heard(row, min_speech_ms=100)) == [(300, 600)]
    assert ends(heard(row, min_speech_ms=300)) == []


def test_speech_at_the_end_lasts_to_the_last_sample() -> None:
    assert ends(heard([0.1, 0.9, 0.9], samples=250)) == [(100, 250)]


def test_padding_stays_in_the_recording_and_shares_a_silence() -> None:
    row = [0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9]
    assert ends(heard(row, pad_ms=40)) == [(0, 140), (360, 540), (660, 800)]
    assert ends(heard(row, pad_ms=120)) == [(0, 220), (280, 600), (600, 800)]


def test_long_speech_is_cut_at_its_longest_pause() -> None:
    row = [0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9]
    found = heard(row, min_silence_ms=400, max_speech_s=0.8)
    assert ends(found) == [(0, 200), (400, 1200)]
    assert ends(heard([0.9] * 10, max_speech_s=0.4)) == [(0, 400), (500, 900)]


@settings(max_examples=40)
@given(
    row=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    threshold=st.floats(0.05, 1), speech=st.integers(0, 500), silence=st.integers(0, 500),
    pad=st.integers(0, 300), most=st.none() | st.floats(0.3, 5),
)  # fmt: skip
def test_speech_is_in_order_and_in_the_recording(
    row: list[float], threshold: float, speech: int, silence: int, pad: int, most: float | None
) -> None:
    samples = len(row) * 100 - 30
    found = ends(
        heard(
            row,
            samples,
            threshold=threshold,
            min_speech_ms=speech,
            min_silence_ms=silence,
            pad_ms=pad,
            max_speech_s=most,
        )
    )
    flat = [place for each in found for place in each]
    assert flat == sorted(flat)
    assert all(0 <= place <= samples for place in flat)
    loud = [index for index, value in enumerate(row) if np.float32(value) >= threshold]
    assert bool(found) <= bool(loud), "no speech without a loud window"
    if loud and speech == 0 and most is None and loud[0] * 100 < samples:
        assert found[0][0] <= loud[0] * 100


def test_a_result_has_seconds_and_words() -> None:
    found = heard([0.1, 0.9, 0.9, 0.1, 0.1])
    assert json.loads(json.dumps(found.to_json()))["segments"] == [
        {"start": 100, "end": 300, "start_s": 0.1, "end_s": 0.3}
    ]
    assert found.speech_s == pytest.approx(0.2)
    assert found.rows() == found.to_json()["segments"]
    assert TASK.describe(found) == "speech 0.1 to 0.3 s"
    assert TASK.describe(heard([0.1])) == "no speech"
    assert TASK.describe(heard([0.9, 0.1, 0.1] * 7)).endswith(", ...")
    np.testing.assert_allclose(found.starts_s, [0, 0.1, 0.2, 0.3, 0.4])
    image = Image.new("RGB", (4, 4))
    assert TASK.draw(image, found).tobytes() == image.tobytes()


def test_outputs_without_a_recording_have_the_declared_rate() -> None:
    context = Context(TASK.parameters({**PLAIN, "rate": 8000, "hop": 256}))
    found = TASK.decode({"p": np.float32([[0.1], [0.9], *[[0.1]] * 5])}, context)
    assert ends(found) == [(256, 512)]
    assert found.segments[0].end_s == 0.064


def test_wrong_outputs_are_said() -> None:
    context = Context(TASK.parameters({}))
    with pytest.raises(
        FeedsError, match=r"The output has shape \[3, 2\]. Expected one probability"
    ):
        TASK.decode({"p": np.zeros((3, 2), np.float32)}, context)
    with pytest.raises(EngineError, match="hold a NaN or an infinity"):
        TASK.decode({"p": np.float32([[np.nan]])}, context)
    with pytest.raises(FeedsError, match=r"There is no output 'q'\. Expected one of 'p'"):
        TASK.decode({"p": np.zeros((1, 1))}, Context(TASK.parameters({"output": "q"})))
    with pytest.raises(UsageError, match="The parameter 'threshold' of the task voice_activity"):
        TASK.parameters({"threshold": 2})

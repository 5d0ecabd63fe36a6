"""What a model remembers goes from call to call, whether a recording comes whole or in pieces."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes a file as another tool would
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelport
from modelport import transforms as T
from modelport.errors import DataError, UsageError
from modelport.runtime.predictor import Predictor
from modelport.runtime.state import State, StateParameters
from modelport.runtime.tasks.tensors import Tensors
from modelport.types import Signature, TensorSpec

Array = np.ndarray[Any, Any]

DECAYING = """<ir_version: 10, opset_import: ["" : 20]>
decaying (float[1, 6] window, float[1, 1] before, float[1] factor) => (float[1, 1] level, float[1, 1] after)
{
    axes = Constant <value_ints = [1]> ()
    sum = ReduceSum (window, axes)
    kept = Mul (before, factor)
    after = Add (sum, kept)
    level = Identity (after)
}"""
"""Remembers part of what it heard: after = sum(window) + factor * before."""

SUMMING = """<ir_version: 10, opset_import: ["" : 20]>
summing (float[N, 6] window) => (float[N, 1] level)
{
    axes = Constant <value_ints = [1]> ()
    level = ReduceSum (window, axes)
}"""

SOUND = [T.Waveform(rate=100), T.Windows(hop=4, before=2)]
PARAMETERS = {
    "state": {"after": "before"},
    "initial": {"before": 3.0},
    "constants": {"factor": 0.5},
}


def deployed(folder: Path, text: str, data: Path | None = None, **source: Any) -> Path:
    folder.mkdir(parents=True)
    onnx.save_model(onnx.parser.parse_model(text), str(folder / "model.onnx"))
    modelport.deploy(
        modelport.Source(folder / "model.onnx", **source), output=folder / "bundle",
        verification=data, engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    return folder / "bundle"


@pytest.fixture(scope="module")
def decaying(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("stream")
    (folder / "data").mkdir()
    (folder / "data" / "a.wav").write_bytes(wav(noise(50)))
    made = deployed(
        folder / "made", DECAYING, folder / "data", transforms=SOUND, parameters=PARAMETERS
    )
    return modelport.load(made, threads=1)


@pytest.fixture(scope="module")
def summing(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("sums")
    return modelport.load(deployed(folder / "made", SUMMING, transforms=SOUND), threads=1)


def noise(samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def wav(sound: Array, rate: int = 100) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def levels(sound: Array) -> list[float]:
    """The recurrence, window by window."""
    around = np.concatenate([np.zeros(2), sound, np.zeros(4)])
    found, before = [], 3.0
    for start in range(0, len(sound), 4):
        before = float(around[start : start + 6].sum()) + 0.5 * before
        found.append(before)
    return found


def test_the_state_goes_from_window_to_window(decaying: Predictor) -> None:
    result = decaying(noise(30))
    assert isinstance(result, Tensors)
    assert list(result.outputs) == ["level"], "the state is no result"
    np.testing.assert_allclose(result["level"][:, 0], levels(noise(30)), rtol=1e-5)
    assert list(result.timing_ms) == ["decode", "resample", "frames", "inference", "result"]


def test_recordings_do_not_hear_each_other(decaying: Predictor) -> None:
    sounds = [noise(30, 1), noise(4, 2), noise(11, 3)]
    together = decaying(sounds)
    for sound, found in zip(sounds, together, strict=True):
        np.testing.assert_array_equal(found["level"], decaying(sound)["level"])
    mapped = list(decaying.map(sounds, workers=2))
    for found, other in zip(together, mapped, strict=True):
        np.testing.assert_array_equal(found["level"], other["level"])


def test_forms_of_a_recording(decaying: Predictor, tmp_path: Path) -> None:
    data = wav(noise(20))
    (tmp_path / "a.wav").write_bytes(data)
    wanted = decaying(data)["level"]
    for item in (tmp_path / "a.wav", str(tmp_path / "a.wav")):
        np.testing.assert_array_equal(decaying(item)["level"], wanted)
    np.testing.assert_allclose(decaying((100, noise(20)))["level"], wanted, atol=1e-3)
    assert len(decaying((200, noise(20)))["level"]) == 3, "20 samples at 200 Hz are 10 at 100 Hz"
    assert len(decaying([(200, noise(20)), noise(20)])) == 2


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 45), max_size=8), samples=st.integers(1, 45))
def test_pieces_of_any_size_give_the_same(
    decaying: Predictor, cuts: list[int], samples: int
) -> None:
    sound = noise(samples, samples)
    stream = decaying.stream(keep=True)
    found = [
        result
        for piece in np.split(sound, sorted(min(cut, samples) for cut in cuts))
        if len(piece)
        for result in stream(piece)
    ]
    assert len(found) == samples // 4
    found += stream.finish()
    np.testing.assert_allclose(
        [each["level"].item() for each in found], levels(sound), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        stream.result()["level"], decaying(sound)["level"], rtol=1e-5, atol=1e-6
    )


def test_reset_forgets_and_streams_are_apart(decaying: Predictor) -> None:
    one, other = decaying.stream(), decaying.stream()
    first = one(noise(8))
    one(noise(5, 1))
    other(noise(3, 2))
    one.reset()
    again = one(noise(8))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["level"], b["level"])
    assert one.finish() == []


def test_a_stream_that_kept_nothing_has_no_result(decaying: Predictor) -> None:
    stream = decaying.stream()
    stream(noise(8))
    with pytest.raises(
        UsageError, match=r"no outputs to make a result of\. Expected a stream made"
    ):
        stream.result()


def test_channels_of_a_stream_stay_as_many(tmp_path: Path, decaying: Predictor) -> None:
    stream = decaying.stream()
    stream(noise(8).reshape(4, 2))  # averaged, for the model hears one channel
    stream(noise(3))
    with pytest.raises(DataError, match="not a recording"):
        stream(noise(8).reshape(2, 2, 2))


def test_ready_feeds_stream_too(decaying: Predictor) -> None:
    window = noise(6)[None]
    single = decaying.infer({"window": window})
    assert single["level"].item() == pytest.approx(window.sum() + 1.5, rel=1e-5)
    given_state = decaying.infer({"window": window, "before": np.zeros((1, 1), np.float32)})
    assert given_state["level"].item() == pytest.approx(window.sum(), rel=1e-5)


def test_feeds_without_transforms_carry_a_state(tmp_path: Path) -> None:
    with modelport.load(deployed(tmp_path / "plain", DECAYING, parameters=PARAMETERS)) as plain:
        stream, before = plain.stream(), 3.0
        for seed in range(3):
            window = noise(6, seed)[None]
            (found,) = stream({"window": window})
            before = float(window.sum()) + 0.5 * before
            assert found["level"].item() == pytest.approx(before, rel=1e-5)
            assert "after" not in found.outputs


def test_windows_without_a_state_run_in_batches(
    summing: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    run = summing.session.run

    def counting(feeds: Any) -> Any:
        sizes.append(len(feeds["window"]))
        return run(feeds)

    monkeypatch.setattr(summing.session, "run", counting)
    sound = noise(70)
    around = np.concatenate([np.zeros(2), sound, np.zeros(6)])
    wanted = [around[start : start + 6].sum() for start in range(0, 70, 4)]
    np.testing.assert_allclose(summing(sound)["level"][:, 0], wanted, atol=1e-5)
    assert sizes == [8, 8, 2]


def test_data_of_a_model_with_a_state_begins_with_it(decaying: Predictor) -> None:
    (case,) = decaying.bundle.cases
    feeds = decaying.bundle.arrays(case.feeds)
    assert feeds["before"].tolist() == [[3.0]]
    assert feeds["factor"].tolist() == [0.5]
    assert decaying.bundle.manifest.provenance.verification_data == "recordings or feeds in data"
    middle = np.concatenate([np.zeros(2), noise(50), np.zeros(6)])[24:30]
    np.testing.assert_allclose(feeds["window"][0], middle, atol=1e-3)


SIGNATURE = Signature(
    (TensorSpec("x", "float32", (1, 4)), TensorSpec("s", "int64", (2,))),
    (TensorSpec("y", "float32", (1,)), TensorSpec("t", "int64", (2,))),
)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"state": {"u": "s"}}, "name the output 'u', which is not there. Expected one of t, y."),
        ({"state": {"t": "q"}}, "name the input 'q', which is not there. Expected one of s, x."),
        ({"constants": {"q": 1}}, "name the input 'q', which is not there."),
        ({"initial": {"s": 1}}, "name the state 's', which is not there. Expected one of none."),
        ({"state": {"t": "s"}, "constants": {"s": 1}}, "feed one input twice"),
    ],
)
def test_wrong_states_are_said(parameters: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        State(StateParameters(**parameters), SIGNATURE)
    assert said in str(caught.value)


def test_a_wrong_state_is_said_before_anything_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the output 'later'"):
        deployed(tmp_path / "wrong", DECAYING, parameters={"state": {"later": "before"}})


def test_a_state_has_the_type_of_its_input() -> None:
    state = State(StateParameters(state={"t": "s"}, initial={"s": 7}), SIGNATURE)
    assert state.first_feeds["s"].dtype == np.int64
    assert state.first_feeds["s"].tolist() == [7, 7]
    outputs = state.run(lambda feeds: {"y": feeds["x"], "t": feeds["s"] + 1}, {"x": np.zeros(1)})
    assert list(outputs) == ["y"]
    state.run(lambda feeds: {"y": np.zeros(1), "t": feeds["s"] * 2}, {})
    assert state.run(lambda feeds: {"y": feeds["s"], "t": feeds["s"]}, {})["y"].tolist() == [16, 16]
    assert state.fresh().first_feeds["s"].tolist() == [7, 7]


@pytest.mark.parametrize(
    ("transforms", "reason"),
    [
        ([T.Waveform(rate=100)], "the transforms have no windows"),
        (
            [T.Waveform(rate=100), T.Standardize(), T.Windows(hop=6)],
            "standardize comes before windows",
        ),
    ],
)
def test_what_needs_a_whole_recording_cannot_stream(
    transforms: Any, reason: str, summing: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "preprocessor", T.preprocessor(transforms))
    with pytest.raises(UsageError) as caught:
        summing.stream()
    assert f"This model cannot answer for a stream: {reason}" in str(caught.value)

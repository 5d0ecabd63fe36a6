"""Windows, spectra and mels are what torch and the published formulas say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport import transforms as T
from modelport.errors import BundleFormatError, DataError, FeedsError, UsageError
from modelport.runtime.transforms.spectrum import mel_bank, whisper

Array = np.ndarray[Any, Any]


def noise(samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def prepared(*transforms: Any, rate: int = 16000, **waveform: Any) -> Any:
    return T.preprocessor([T.Waveform(rate=rate, **waveform), *transforms])


# --- windows ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    samples=st.integers(1, 60), hop=st.integers(1, 12), before=st.integers(0, 9),
    after=st.integers(0, 30), tail=st.sampled_from(["pad", "drop"]),
)  # fmt: skip
def test_windows_are_slices_of_a_silence_around_the_recording(
    samples: int, hop: int, before: int, after: int, tail: Any
) -> None:
    sound = noise(samples)
    step = T.Windows(hop=hop, before=before, after=after, tail=tail)
    count = math.ceil(samples / hop) if tail == "pad" else samples // hop
    around = np.concatenate([np.zeros(before), sound, np.zeros(hop + after)])
    found = step.apply(sound[None, None])
    assert found.shape == (count, 1, before + hop + after)
    for index in range(count):
        np.testing.assert_array_equal(
            found[index, 0], around[index * hop : index * hop + before + hop + after]
        )


def test_most_windows_cut_and_fill_to_one_length() -> None:
    prepare = prepared(T.Windows(hop=10, most=1))
    long, short = noise(25), noise(4)
    np.testing.assert_array_equal(prepare(long), long[None, :10])
    np.testing.assert_array_equal(prepare(short), np.pad(short, (0, 6))[None])


def test_a_recording_without_a_whole_window_is_said() -> None:
    with pytest.raises(DataError, match="has 4 samples, and the model takes windows of 10"):
        prepared(T.Windows(hop=10, tail="drop"))(noise(4))


def test_channels_are_averaged_scaled_or_kept() -> None:
    stereo = noise(40).reshape(20, 2)
    np.testing.assert_allclose(prepared()(stereo), stereo.mean(1)[None], rtol=1e-6)
    np.testing.assert_array_equal(prepared(scale=32768)(stereo[:, 0]), stereo[None, :, 0] * 32768)
    kept = prepared(T.SoundLayout(axes="nct"), mono=False)(stereo)
    np.testing.assert_array_equal(kept, stereo.T[None])


def test_standardize_gives_mean_zero_and_variance_one() -> None:
    sound = noise(1000) * 3 + 5
    wanted = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    np.testing.assert_allclose(prepared(T.Standardize())(sound)[0], wanted, atol=1e-5)
    assert not prepared(T.Standardize())(np.zeros(50, np.float32)).any()


def test_the_timeline_tells_when_windows_are() -> None:
    made = prepared(T.Windows(hop=8, before=2), rate=100).prepare((50, noise(30)))
    assert made.timeline.samples == 60
    assert made.timeline.seconds == 0.6
    assert made.timeline.start(3) == 24
    assert made.first.shape == (8, 10)


# --- spectra ------------------------------------------------------------------------------------

WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window, "ones": torch.ones}


@pytest.mark.parametrize("shape", WINDOWS)
@pytest.mark.parametrize(
    ("fft", "hop", "window", "centre", "padding"),
    [
        (64, 16, 64, True, "reflect"),
        (64, 20, 50, True, "zeros"),
        (65, 13, 33, True, "reflect"),
        (64, 16, 48, False, "reflect"),
    ],
)
@pytest.mark.parametrize("power", [1, 2])
def test_spectrogram_equals_torch(
    shape: Any, fft: int, hop: int, window: int, centre: bool, padding: Any, power: Any
) -> None:
    sound = noise(500)
    step = T.Spectrogram(
        fft=fft, hop=hop, window=window, shape=shape, centre=centre, padding=padding, power=power
    )
    mode = "reflect" if padding == "reflect" else "constant"
    wanted = torch.stft(
        torch.from_numpy(sound), fft, hop, window, WINDOWS[shape](window), center=centre,
        pad_mode=mode, return_complex=True,
    )  # fmt: skip
    found = prepared(step)(sound)
    np.testing.assert_allclose(found[0], wanted.abs().numpy() ** power, rtol=2e-4, atol=2e-4)


def test_long_sound_is_transformed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    step = prepared(T.Spectrogram(fft=32, hop=8))
    whole = step(noise(400))
    monkeypatch.setattr("modelport.runtime.transforms.spectrum._BLOCK_FRAMES", 7)
    np.testing.assert_array_equal(step(noise(400)), whole)


def htk(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def slaney(hertz: float) -> float:
    """Bands of 200/3 Hz up to 1000 Hz, then 27 for each factor of 6.4."""
    if hertz < 1000:
        return hertz / (200 / 3)
    return 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def inverse(scale: Any, mel: float) -> float:
    """By bisection, so that it shares no formula with the code."""
    low, high = 0.0, 1e5
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if scale(middle) < mel else (low, middle)
    return low


@pytest.mark.parametrize(("name", "scale"), [("htk", htk), ("slaney", slaney)])
@pytest.mark.parametrize("area", [True, False])
def test_bands_are_triangles_between_points_of_the_scale(name: Any, scale: Any, area: bool) -> None:
    bins, rate, bands, lowest, highest = 129, 8000, 12, 60.0, 3700.0
    found = mel_bank(bins, rate, bands, lowest, highest, name, area)
    ends = scale(lowest), scale(highest)
    points = [
        inverse(scale, ends[0] + (ends[1] - ends[0]) * k / (bands + 1)) for k in range(bands + 2)
    ]
    for band, (left, top, right) in enumerate(zip(points, points[1:], points[2:], strict=False)):
        for index in range(bins):
            hertz = index * rate / 2 / (bins - 1)
            height = max(0, min((hertz - left) / (top - left), (right - hertz) / (right - top)))
            height *= 2 / (right - left) if area else 1
            assert found[band, index] == pytest.approx(height, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"logarithm": "none"}, lambda x: np.maximum(x, 1e-10)),
        ({"logarithm": "ln", "floor": 0.0, "offset": 1e-6}, lambda x: np.log(x + 1e-6)),
        (
            {"logarithm": "db", "range": 20.0},
            lambda x: np.maximum(y := 10 * np.log10(x), y.max() - 20),
        ),
        ({"shift": 4.0, "gain": 0.25}, lambda x: (np.log10(np.maximum(x, 1e-10)) + 4) / 4),
    ],
    ids=["none", "ln", "db", "gain"],
)
def test_logarithms(fields: Any, wanted: Any) -> None:
    spectrum = T.Spectrogram(fft=128, hop=32)
    power = prepared(spectrum)(noise(600))[0].astype(np.float64)
    bank = mel_bank(65, 16000, 10, 0.0, 8000.0, "slaney", True).astype(np.float64)
    found = prepared(spectrum, T.Mel(bands=10, rate=16000, **fields))(noise(600))
    np.testing.assert_allclose(found[0], wanted(bank @ power), rtol=1e-3, atol=1e-4)


def test_whisper_has_its_shape_and_range() -> None:
    found = prepared(*whisper(bands=80, seconds=2))(noise(20000))
    assert found.shape == (1, 80, 200)
    assert found.max() - found.min() <= 2.0001


# --- layout and order ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("nft", (1, 9, 5)),
        ("ntf", (1, 5, 9)),
        ("ncft", (1, 1, 9, 5)),
        ("ntfc", (1, 5, 9, 1)),
        ("n1tf", (1, 1, 5, 9)),
    ],
)
def test_axes_of_spectra(axes: str, shape: tuple[int, ...]) -> None:
    plain = prepared(T.Spectrogram(fft=16, hop=10))(noise(40))
    found = prepared(T.Spectrogram(fft=16, hop=10), T.SoundLayout(axes=axes))(noise(40))
    assert found.shape == shape
    assert found.flags.c_contiguous
    wanted = plain[0] if axes.index("f") < axes.index("t") else plain[0].T
    np.testing.assert_array_equal(found.squeeze(), wanted)


def test_axes_that_are_not_there_are_said() -> None:
    with pytest.raises(FeedsError) as caught:
        prepared(T.SoundLayout(axes="nft"))(noise(40))
    assert "has the axes n 1, c 1, t 40, and the layout wants 'nft'" in str(caught.value)
    with pytest.raises(FeedsError, match="axes n 1, c 2, t 20"):
        prepared(T.SoundLayout(axes="nt"), mono=False)(noise(40).reshape(20, 2))


@pytest.mark.parametrize("axes", ["", "tn", "nn", "nx", "nctt"])
def test_wrong_axes_are_refused(axes: str) -> None:
    with pytest.raises(BundleFormatError, match="axes are n, then each of c, f and t at most once"):
        T.parse([{"kind": "sound_layout", "axes": axes}])


ORDERS: list[list[Any]] = [
    [T.Windows(hop=4)],
    [T.Waveform(rate=8), T.Windows(hop=4), T.Windows(hop=4)],
    [T.Waveform(rate=8), T.Mel(bands=4, rate=8)],
    [T.Waveform(rate=8), T.Mel(bands=4, rate=8), T.Spectrogram(fft=4, hop=2)],
    [T.Waveform(rate=8), T.SoundLayout(axes="nt"), T.Windows(hop=4)],
    [T.Waveform(rate=8), T.Decode()],
]


@pytest.mark.parametrize("transforms", ORDERS, ids=lambda each: " ".join(t.kind for t in each))
def test_orders_that_cannot_be_meant_are_refused(transforms: list[Any]) -> None:
    with pytest.raises(UsageError, match="The transforms are"):
        T.preprocessor(transforms)


def test_transforms_of_sound_are_json() -> None:
    given = [T.Waveform(rate=16000), T.Standardize(), *whisper(), T.SoundLayout(axes="ncft")]
    assert T.parse(json.loads(json.dumps(T.dump(given)))) == given

"""Recordings are read from every plain format, and change their rate without changing their sound."""

from __future__ import annotations

import io
import math
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.errors import DataError, EngineUnavailableError
from modelport.runtime.transforms.resample import resampled
from modelport.runtime.transforms.wav import from_array, read_recording

Array = np.ndarray[Any, Any]


def noise(seed: int, samples: int, channels: int = 1) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, channels)).astype(np.float32)


def written(samples: Array, rate: int, width: int) -> bytes:
    """A file of the standard library's own writer, of that many bytes a sample."""
    full = 2 ** (8 * width - 1)
    whole = np.round(samples.astype(np.float64) * (full - 1)).astype(np.int64)
    if width == 1:
        data = (whole + 128).astype(np.uint8).tobytes()
    elif width == 3:
        data = whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        data = whole.astype(f"<i{width}").tobytes()
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def header(kind: int, channels: int, rate: int, bits: int, more: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits) + more
    )


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_whole_numbers_of_every_width(width: int, channels: int) -> None:
    samples = noise(width, 101, channels)
    rate, found = read_recording(written(samples, 22050, width), 16000)
    assert rate == 22050
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, samples, atol=3.1 / 2 ** (8 * width) + 1e-7)


@pytest.mark.parametrize("bits", [32, 64])
def test_floats_after_chunks_of_other_kinds(bits: int) -> None:
    samples = noise(bits, 50, 2)
    data = riff(
        chunk(b"LIST", b"odd"),
        header(3, 2, 8000, bits),
        chunk(b"fact", b"\0\0\0\0"),
        chunk(b"data", samples.astype(f"<f{bits // 8}").tobytes()),
    )
    rate, found = read_recording(data, 16000)
    assert rate == 8000
    np.testing.assert_array_equal(found, samples)


def test_extensible_header_says_the_format_later() -> None:
    samples = noise(1, 20)
    more = struct.pack("<HHIH", 22, 32, 4, 3) + bytes(14)
    data = riff(header(0xFFFE, 1, 48000, 32, more), chunk(b"data", samples.tobytes()))
    np.testing.assert_array_equal(read_recording(data, 1)[1], samples)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_size_that_nobody_knew_means_the_rest(size: int) -> None:
    samples = noise(2, 30)
    body = header(3, 1, 16000, 32) + b"data" + struct.pack("<I", size) + samples.tobytes()
    np.testing.assert_array_equal(read_recording(riff(body), 1)[1], samples)


def test_a_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    data = written(noise(3, 40), 16000, 2)
    (tmp_path / "a.wav").write_bytes(data)
    for item in (tmp_path / "a.wav", str(tmp_path / "a.wav"), bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(read_recording(item, 1)[1], read_recording(data, 1)[1])


WHOLE = written(noise(4, 40), 16000, 2)
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "The recording is empty"),
    "cut short": (WHOLE[:-10], "it is cut short: 70 of 80 bytes of samples"),
    "no samples": (riff(header(1, 1, 16000, 16), chunk(b"data", b"")), "it has no samples"),
    "no data": (riff(header(1, 1, 16000, 16)), "it has no samples, or does not say how"),
    "no header": (riff(chunk(b"data", b"1234")), "it has no samples, or does not say how"),
    "short header": (riff(chunk(b"fmt ", b"1234"), chunk(b"data", b"12")), "its header is cut"),
    "law": (
        riff(header(7, 1, 8000, 8), chunk(b"data", b"12")),
        "The recording is a WAV of format 7 with 8 bits, 1 channels and 8000 samples a second. "
        "Expected PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64. Convert it, to 16 bits say.",
    ),
    "no rate": (riff(header(1, 1, 0, 16), chunk(b"data", b"12")), "0 samples a second"),
    "no channels": (riff(header(1, 0, 8000, 16), chunk(b"data", b"12")), "0 channels"),
    "not a number": (
        riff(header(3, 1, 8000, 32), chunk(b"data", np.float32([0, np.nan]).tobytes())),
        "The recording holds a NaN or an infinity",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_said(name: str) -> None:
    data, said = BAD[name]
    with pytest.raises(DataError) as caught:
        read_recording(data, 16000)
    assert said in str(caught.value)


@settings(max_examples=40)
@given(st.binary(max_size=120))
def test_any_bytes_are_a_recording_or_an_error_of_ours(data: bytes) -> None:
    for whole in (b"RIFF" + bytes(4) + b"WAVE" + data, WHOLE[:20] + data, WHOLE[: len(data)]):
        try:
            rate, samples = read_recording(whole, 16000)
        except (DataError, EngineUnavailableError):
            continue
        assert rate > 0
        assert samples.size
        assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (3, "A int is not a recording"),
        ("nowhere.wav", "There is no recording nowhere.wav"),
        ((16000.5, np.zeros(3)), "16000.5 is not a rate"),
        ((0, np.zeros(3)), "0 is not a rate"),
        (np.zeros((2, 3, 4)), "An array of float64 and shape [2, 3, 4] is not a recording"),
        (np.zeros(0), "shape [0] is not a recording"),
        (np.zeros(4, bool), "An array of bool"),
        (np.zeros((2, 1000)), "Turn it with array.T"),
        (np.float32([1, np.inf]), "a NaN or an infinity"),
    ],
    ids=str,
)
def test_what_is_no_recording_is_said(item: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_recording(item, 16000)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("int8", -128, 127),
        ("int16", -32768, 32767),
        ("uint8", 0, 255),
        ("int32", -(2**31), 2**31 - 1),
    ],
)
def test_whole_numbers_have_their_full_scale(dtype: str, low: int, high: int) -> None:
    found = from_array(np.array([low, 128 if dtype == "uint8" else 0, high], dtype))[:, 0]
    np.testing.assert_allclose(found, [-1, 0, 1], atol=1 / 127)
    assert found[0] == -1


def test_another_format_needs_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(EngineUnavailableError) as caught:
        read_recording(b"fLaC1234", 16000)
    assert str(caught.value) == (
        "The recording is no WAV file, and the package soundfile is not installed. "
        'Install it with: pip install "modelport[sound]".'
    )


# --- rates --------------------------------------------------------------------------------------


def convolved(sound: Array, before: int, after: int) -> Array:
    """Every sample of the result as one sum over all of the sound, straight from the definition."""
    common = math.gcd(before, after)
    up, down = after // common, before // common
    most = max(up, down)
    half = 10 * most
    length = math.ceil(len(sound) * up / down)
    away = np.arange(length)[:, None] * down - np.arange(len(sound)) * up
    inside = np.sqrt(np.maximum(0, 1 - (away / half) ** 2))
    window = np.where(np.abs(away) <= half, np.i0(5 * inside) / np.i0(5), 0)
    grid = np.arange(-half, half + 1)
    total = np.sum(np.sinc(grid / most) * np.i0(5 * np.sqrt(1 - (grid / half) ** 2)) / np.i0(5))
    return np.asarray(np.sinc(away / most) * window * up / total @ sound.astype(np.float64))


@pytest.mark.parametrize(
    ("before", "after"),
    [(44100, 16000), (8000, 16000), (48000, 16000), (16000, 44100), (11025, 22050), (3, 2), (7, 5)],
)
@pytest.mark.parametrize("samples", [1, 2, 70, 501])
def test_resampling_is_one_sum_over_a_windowed_sinc(before: int, after: int, samples: int) -> None:
    sound = noise(samples, samples, 2)
    wanted = convolved(sound, before, after)
    found = resampled(sound, before, after)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_a_tone_stays_and_what_the_new_rate_cannot_hold_goes() -> None:
    time = np.arange(48000) / 48000
    low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (1000, 11000))
    found = resampled((low + high)[:, None], 48000, 16000)[:, 0]
    wanted = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    inner = slice(200, -200)
    np.testing.assert_allclose(found[inner], wanted[inner], atol=5e-3)


def test_an_equal_rate_changes_nothing() -> None:
    sound = noise(5, 10)
    assert resampled(sound, 16000, 16000) is sound

"""Drafts of progressive JPEGs: less to decode, nearly the same picture, and never a wrong file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import DataError
from modelport.runtime.transforms import Decode
from modelport.runtime.transforms.jpeg import without_last_bits


def jpeg(*, progressive: bool, quality: int = 90) -> bytes:
    """A smooth picture with some grain, as photos are."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:96, 0:128] / 20
    plane = 128 + 80 * np.sin(rows) * np.cos(columns) + generator.normal(0, 6, (96, 128))
    pixels = np.stack([plane, plane[::-1], plane[:, ::-1]], axis=2).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", progressive=progressive, quality=quality)
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_progressive_file_is_shorter_and_nearly_the_same() -> None:
    data = jpeg(progressive=True)
    light = without_last_bits(data)
    assert len(light) < 0.85 * len(data)
    difference = np.abs(pixels(light) - pixels(data))
    assert 0 < difference.mean() < 3


def test_a_second_time_changes_nothing() -> None:
    light = without_last_bits(jpeg(progressive=True))
    assert without_last_bits(light) == light


@pytest.mark.parametrize("quality", [30, 75, 98])
def test_baseline_file_stays_as_it_is(quality: int) -> None:
    data = jpeg(progressive=False, quality=quality)
    assert without_last_bits(data) is data


def test_other_formats_stay_as_they_are() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    assert without_last_bits(stream.getvalue()) == stream.getvalue()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated_file_is_still_an_error(share: float, tmp_path: Path) -> None:
    data = jpeg(progressive=True)
    short = data[: int(len(data) * share)]
    assert without_last_bits(short) == short
    (tmp_path / "short.jpg").write_bytes(short)
    with pytest.raises(DataError, match=r"short\.jpg cannot be decoded"):
        Decode(draft=True)(tmp_path / "short.jpg")


def test_bytes_and_paths_give_the_same_draft(tmp_path: Path) -> None:
    data = jpeg(progressive=True)
    (tmp_path / "a.jpg").write_bytes(data)
    from_path = np.asarray(Decode(draft=True)(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(np.asarray(Decode(draft=True)(data)), from_path)
    np.testing.assert_array_equal(from_path, pixels(without_last_bits(data)))
    assert (from_path != np.asarray(Decode()(data))).any()


@given(st.binary(max_size=200))
def test_any_bytes_come_back_or_lose_only_a_part(tail: bytes) -> None:
    data = b"\xff\xd8" + tail
    light = without_last_bits(data)
    assert len(light) <= len(data)
    assert light[:2] == b"\xff\xd8"


@given(st.integers(2, 4000), st.integers(0, 255))
def test_a_wrong_byte_never_ends_in_another_kind_of_error(position: int, value: int) -> None:
    data = bytearray(jpeg(progressive=True))
    data[position % len(data)] = value
    try:
        image = Decode(draft=True)(bytes(data))
    except DataError:
        return
    assert image.mode == "RGB"

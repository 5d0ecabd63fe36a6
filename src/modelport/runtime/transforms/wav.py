"""Reads recordings: WAV files of every plain sample format, and others where `soundfile` is installed.

The format is that of RIFF: chunks of a four-letter name, a size and their bytes. `fmt ` says how the
samples of `data` are kept (Microsoft and IBM, Multimedia Programming Interface, 1991; the extensible
form is of 2001).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from modelport.errors import DataError, EngineUnavailableError
from modelport.types import Array

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_OPEN_END = (0, 0xFFFFFFFF)
"""Sizes that a program writes which does not know yet how long a recording becomes."""

MOST_CHANNELS = 32
"""More are an array that lies on its side."""

Recording = tuple[int, Array]
"""Samples in a second; and float32 samples x channels, full scale at 1."""


def read_recording(item: Any, rate: int) -> Recording:
    """The samples of whatever stands for a recording.

    Args:
        item: a path, the bytes of a file, `(rate, array)`, or an array at the rate that the model hears.
        rate: that rate.

    Raises:
        DataError: where it is no recording, or a damaged one.
        EngineUnavailableError: where it is no WAV and the package `soundfile` is not installed.
    """
    if isinstance(item, np.ndarray):
        return rate, from_array(item)
    if is_rated(item):
        return _rate(item[0]), from_array(item[1])
    if isinstance(item, (str, os.PathLike)):
        path = Path(item)
        try:
            data = path.read_bytes()
        except OSError as error:
            if not path.is_file():
                raise DataError(f"There is no recording {path}", hint="Check the path") from error
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        return _decoded(data, str(path))
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _decoded(bytes(item), "The recording")
    raise DataError(
        f"A {type(item).__name__} is not a recording",
        expected="a path, bytes, an array, or a pair of a rate and an array",
    )


def is_rated(item: Any) -> bool:
    """Whether it is a rate with samples."""
    return (
        isinstance(item, tuple)
        and len(item) == 2
        and isinstance(item[0], (int, float, np.number))
        and isinstance(item[1], np.ndarray)
    )


def _rate(rate: Any) -> int:
    if isinstance(rate, (int, np.integer)) and not isinstance(rate, bool) and rate > 0:
        return int(rate)
    raise DataError(f"{rate!r} is not a rate", expected="samples in a second, a whole number")


def from_array(array: Array) -> Array:
    """Float32 samples x channels of an array of samples, or of samples x channels.

    Whole numbers are divided by their full scale, and uint8 is centred at 128, as in a WAV file.

    Raises:
        DataError: where the array cannot be sound.
    """
    fits = array.ndim in (1, 2) and array.size and (array.ndim == 1 or _is_upright(array))
    if (
        not fits
        or array.dtype.kind not in "iuf"
        or array.dtype in (np.uint16, np.uint32, np.uint64)
    ):
        sideways = array.ndim == 2 and array.shape[1] > MOST_CHANNELS
        raise DataError(
            f"An array of {array.dtype} and shape {list(array.shape)} is not a recording",
            expected="one or more samples, or samples x channels, of floats or signed integers",
            hint="Turn it with array.T" if sideways else None,
        )
    scaled = _scaled(array.reshape(len(array), -1))
    if not np.isfinite(scaled).all():
        raise DataError("The recording holds a NaN or an infinity", expected="finite samples")
    return scaled


def _is_upright(array: Array) -> bool:
    return bool(0 < array.shape[1] <= MOST_CHANNELS)


def _scaled(array: Array) -> Array:
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype == np.uint8:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    full = float(2 ** (8 * array.dtype.itemsize - 1))
    return (array / full).astype(np.float32)


def _decoded(data: bytes, name: str) -> Recording:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav(data, name)
    if not data:
        raise DataError(f"{name} is empty", expected="a whole recording")
    return _by_soundfile(data, name)


def _wav(data: bytes, name: str) -> Recording:
    form: tuple[int, int, int, int] | None = None
    for kind, start, size in _chunks(data):
        if kind == b"fmt ":
            form = _form(data[start : start + size], name)
        elif kind == b"data":
            if form is None:
                break
            available = len(data) - start
            if size > available and size not in _OPEN_END:
                raise _damaged(name, f"it is cut short: {available} of {size} bytes of samples")
            held = available if size in _OPEN_END else size
            return form[2], from_array(_samples(data[start : start + held], form, name))
    raise _damaged(name, "it has no samples, or does not say how they are kept")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and stated size of each chunk; chunks start at even places."""
    place = 12
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        yield kind, place + 8, size
        place += 8 + size + size % 2


def _form(chunk: bytes, name: str) -> tuple[int, int, int, int]:
    """Format, channels, rate, and bits of a sample."""
    if len(chunk) < 16:
        raise _damaged(name, "its header is cut short")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]
    known = bits in (8, 16, 24, 32) if kind == _PCM else kind == _FLOAT and bits in (32, 64)
    if not known or not 0 < channels <= MOST_CHANNELS or rate == 0:
        raise DataError(
            f"{name} is a WAV of format {kind} with {bits} bits, {channels} channels and "
            f"{rate} samples a second",
            expected="PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64",
            hint="Convert it, to 16 bits say",
        )
    return kind, channels, rate, bits


def _samples(data: bytes, form: tuple[int, int, int, int], name: str) -> Array:
    kind, channels, _, bits = form
    frame = channels * bits // 8
    whole = len(data) // frame * frame
    if whole == 0:
        raise _damaged(name, "it has no samples")
    if kind == _FLOAT:
        return np.frombuffer(data[:whole], f"<f{bits // 8}").reshape(-1, channels)
    if bits == 24:  # as the upper three bytes of 32 bits
        bytes3 = np.frombuffer(data[:whole], np.uint8).reshape(-1, 3)
        return np.pad(bytes3, ((0, 0), (1, 0))).view("<i4").reshape(-1, channels)
    return np.frombuffer(data[:whole], {8: "u1", 16: "<i2", 32: "<i4"}[bits]).reshape(-1, channels)


def _by_soundfile(data: bytes, name: str) -> Recording:
    try:
        soundfile = import_module("soundfile")
    except (ModuleNotFoundError, OSError) as error:  # OSError: the library under it is missing
        raise EngineUnavailableError(
            f"{name} is no WAV file, and the package soundfile is not installed",
            hint='Install it with: pip install "modelport[sound]"',
        ) from error
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except Exception as error:  # it raises RuntimeErrors of its own
        raise _damaged(name, " ".join(str(error).split())[:120]) from error
    return int(rate), from_array(samples)


def _damaged(name: str, reason: str) -> DataError:
    return DataError(
        f"{name} cannot be decoded ({reason})",
        expected="a whole WAV, FLAC, OGG or MP3 recording",
        hint="Check that the file is complete and plays",
    )

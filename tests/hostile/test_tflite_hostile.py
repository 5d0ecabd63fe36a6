"""`.tflite` files that were damaged or made to harm: one clear error each, before any engine sees them."""

from __future__ import annotations

import os
import struct
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelport.errors import BundleFormatError, ModelportError
from modelport.runtime.foreign.folder import TEXT_LIMIT_BYTES
from modelport.runtime.foreign.tflite import flatbuffer
from modelport.runtime.foreign.tflite.model import read_tflite
from modelport.runtime.opening import opened
from tflite_files import RELU, Net, Number, Numbers, Tensor, colours, described, flat, relu

WHOLE = colours(
    metadata=described(mean=[127.5], std=[127.5], labels="labels.txt"),
    files={"labels.txt": "red\ngreen\nblue"},
).content()


def refused(path: Path, content: bytes, *said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BundleFormatError) as caught:
        opened(path)
    text = str(caught.value)
    for words in (str(path), *said):
        assert words in text
    assert "\n" not in text
    assert len(text) < 1000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is too short"),
        (b"\x10\0\0\0TF", "it is too short"),
        (b"\x10\0\0\0TFL2" + bytes(40), "bytes 4 to 7 are b'TFL2', and TFL3 belongs there"),
        (b"PK\3\4 no model at all", "TFL3 belongs there"),
        (b"\xff\xff\xff\xffTFL3" + bytes(40), "leads to bytes 4294967295 to"),
        (b"\x10\0\0\0TFL3", "leads to bytes 16 to"),
        (struct.pack("<I4sii", 8, b"TFL3", 100, 0), "leads to bytes -92 to"),
        (struct.pack("<I4siHH", 8, b"TFL3", -4, 3, 0), "a vtable of 3 bytes"),
        (struct.pack("<I4siHH", 8, b"TFL3", -4, 6000, 0), "leads to bytes 12 to 6012"),
        (flat({}, b"TFL3"), "it speaks of subgraph 0, and has 0"),
        (flat({2: []}, b"TFL3"), "it speaks of subgraph 0, and has 0"),
        (flat({2: [{}]}, b"TFL3"), "it has no inputs or no outputs"),
        (flat({2: [{1: Numbers("<i", [-1])}]}, b"TFL3"), "it speaks of tensor -1, and has 0"),
        (flat({2: [{1: Numbers("<i", [7]), 0: [{}]}]}, b"TFL3"), "it speaks of tensor 7, and has 1"),
        (flat({2: Number("<I", 2**31)}, b"TFL3"), "leads to bytes"),
        (relu().content().replace(b"x\0", b"\xff\0"), "is no TFLite model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_model_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    refused(tmp_path / "net.tflite", content, "is no TFLite model", said)


def test_every_cut_is_refused_or_read(tmp_path: Path) -> None:
    """A file that lacks its end is refused, unless only weights were there."""
    path = tmp_path / "net.tflite"
    refusals = 0
    for length in range(0, len(WHOLE), 3):
        path.write_bytes(WHOLE[:length])
        try:
            opened(path)
        except BundleFormatError:
            refusals += 1
    assert refusals > 200


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 4), st.integers(0, 2**32 - 1)), min_size=1, max_size=4
    )
)
@example(changes=[(0, 0)])
@example(changes=[(0, 2**32 - 1)])
def test_numbers_anywhere_are_an_error_or_open(
    changes: list[tuple[int, int]], tmp_path: Path
) -> None:
    content = bytearray(WHOLE)
    for place, number in changes:
        struct.pack_into("<I", content, place, number)
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    with suppress(ModelportError):  # anything else is a bug
        opened(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=200), root=st.integers(0, 220))
def test_bytes_of_chance_are_an_error(rest: bytes, root: int, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(struct.pack("<I4s", root, b"TFL3") + rest)
    with pytest.raises(BundleFormatError):
        opened(path)


def test_shapes_that_cannot_be_are_said(tmp_path: Path) -> None:
    many = Net([Tensor("x", [1] * 33), Tensor("y", (1,))], RELU).content()
    refused(tmp_path / "net.tflite", many, "'x' has 33 axes")
    odd = Net([Tensor("x", (1, 2), free=(-1, 2, 3)), Tensor("y", (1,))], RELU).content()
    refused(tmp_path / "net.tflite", odd, "'x' has 2 axes in one place and 3 in another")


def test_files_of_nothing_but_inputs_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flatbuffer, "MOST_FIELDS", 5000)
    graph = {0: [{3: "x"}], 1: Numbers("<i", [0] * 2000), 2: Numbers("<i", [0])}
    started = time.monotonic()
    refused(tmp_path / "net.tflite", flat({2: [graph]}, b"TFL3"), "it has too many fields")
    assert time.monotonic() - started < 20


def test_metadata_behind_the_end_are_refused(tmp_path: Path) -> None:
    """Of files beyond 2 GB, whose buffers are named by offset and size."""
    graph = {0: [{3: "x"}], 1: Numbers("<i", [0]), 2: Numbers("<i", [0])}
    for offset, size in ((2**40, 8), (16, 2**40), (2**63, 2**63)):
        buffer = {1: Number("<Q", offset), 2: Number("<Q", size)}
        entry = {0: "TFLITE_METADATA", 1: Number("<I", 0)}
        content = flat({2: [graph], 4: [buffer], 6: [entry]}, b"TFL3")
        refused(tmp_path / "net.tflite", content, "leads to bytes")
    entry = {0: "TFLITE_METADATA", 1: Number("<I", 9)}
    content = flat({2: [graph], 4: [{}], 6: [entry]}, b"TFL3")
    refused(tmp_path / "net.tflite", content, "it speaks of buffer 9, and has 1")


def test_labels_that_swell_are_refused(tmp_path: Path) -> None:
    """A few compressed bytes that unpack to more than anybody has labels."""
    path = tmp_path / "net.tflite"
    path.write_bytes(colours(metadata=described(labels="labels.txt")).content())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", b"\n" * (TEXT_LIMIT_BYTES + 1))
    assert path.stat().st_size < 100_000
    refused(path, path.read_bytes(), "it is too large for labels")


def test_names_of_labels_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("red\ngreen\nblue", encoding="utf-8")
    for name in ("../secret.txt", str(tmp_path / "secret.txt"), "secret.txt", "a\0b", ""):
        content = colours(metadata=described(labels=name), files={"other.txt": "x"}).content()
        if name:
            refused(tmp_path / "net.tflite", content, "cannot be read")


def test_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").mkdir()
    with pytest.raises(ModelportError):
        opened(tmp_path / "net.tflite")
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(ModelportError):
        opened(tmp_path / "pipe.tflite")
    with pytest.raises(BundleFormatError, match=r"gone\.tflite cannot be read"):
        read_tflite(tmp_path / "gone.tflite")

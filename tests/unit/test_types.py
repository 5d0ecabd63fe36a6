"""The shared words: specifications, signatures, blobs and errors."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport import errors
from modelport.errors import BundleError, FeedsError, ModelportError, UsageError
from modelport.types import Blob, Dim, Signature, TensorSpec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image=1x3x224x224", TensorSpec("image", "float32", (1, 3, 224, 224))),
        ("x=5", TensorSpec("x", "float32", (5,))),
        (" ids:int64 = 1..16x128 ", TensorSpec("ids", "int64", (Dim(1, 16), 128))),
        ("a.b_c:uint8=1x2..2x3", TensorSpec("a.b_c", "uint8", (1, 2, 3))),
        ("x:half=2", TensorSpec("x", "float16", (2,))),
        ("x:bool=2..4x1..8", TensorSpec("x", "bool", (Dim(2, 4), Dim(1, 8)))),
    ],
)
def test_parse(text: str, expected: TensorSpec) -> None:
    assert TensorSpec.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["The input '' cannot be read", "NAME=SHAPE", "image=1x3x224x224"]),
        ("image", ["'image' cannot be read"]),
        ("=1x3", ["'=1x3' cannot be read"]),
        ("image=", ["'image=' cannot be read"]),
        ("image=1x3xN", ["'image=1x3xN' cannot be read"]),
        ("image=1,3", ["cannot be read", "joined by 'x'"]),
        ("image=-1x3", ["cannot be read"]),
        ("my image=1x3", ["cannot be read"]),
        ("image:float33=1", ["unknown element type 'float33'", "float32, uint8 or int64"]),
        ("image:object=1", ["'object'", "float32, uint8 or int64"]),
        ("image:str=1", ["'str'", "float32, uint8 or int64"]),
        ("image:V8=1", ["'V8'", "float32, uint8 or int64"]),
        ("image=0x3", ["The size '0' in 'image=0x3'", "a positive number"]),
        ("image=1xx3", ["The size '' in 'image=1xx3'"]),
        ("image=1x3x", ["The size ''"]),
        ("image=4..2x3", ["The size '4..2'", "a <= b"]),
        ("image=0..2x3", ["The size '0..2'"]),
        ("image=1..2..3", ["The size '1..2..3'"]),
        ("image=1.5x3", ["The size '1.5'"]),
        ("image=?x3", ["The size '?'"]),
        ("image=..4", ["The size '..4'"]),
    ],
)
def test_parse_refuses(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        TensorSpec.parse(text)
    for word in words:
        assert word in str(caught.value)


@given(st.text(max_size=40))
def test_parse_gives_a_specification_or_a_usage_error(text: str) -> None:
    try:
        spec = TensorSpec.parse(text)
    except UsageError:
        return
    assert all(size > 0 for size in spec.smallest())


SIZES = st.one_of(
    st.integers(1, 999), st.tuples(st.integers(1, 99), st.integers(100, 999)).map(lambda p: Dim(*p))
)


@given(st.lists(SIZES, min_size=1, max_size=5), st.sampled_from(["float32", "int64", "bool"]))
def test_what_is_printed_can_be_parsed(sizes: list[int | Dim], dtype: str) -> None:
    spec = TensorSpec("x", dtype, tuple(sizes))
    name, _, rest = str(spec).partition(": ")
    kind, _, shape = rest.partition(" ")
    assert TensorSpec.parse(f"{name}:{kind}={shape}") == spec


@pytest.mark.parametrize(
    ("dim", "text", "accepted", "refused"),
    [
        (Dim(2, 4), "2..4", [2, 3, 4], [0, 1, 5]),
        (Dim(), "1..", [1, 10**9], [0]),
        (Dim(3, None, "batch"), "batch", [3, 4], [2]),
        (Dim(0), "0..", [0, 1], [-1]),
    ],
)
def test_dim(dim: Dim, text: str, accepted: list[int], refused: list[int]) -> None:
    assert str(dim) == text
    assert all(dim.accepts(size) for size in accepted)
    assert not any(dim.accepts(size) for size in refused)


def test_spec_answers() -> None:
    free = TensorSpec("x", "float32", (Dim(2, 8), 3))
    assert (free.is_static, free.smallest(), str(free)) == (False, (2, 3), "x: float32 2..8x3")
    scalar = TensorSpec("s", "int64", ())
    assert (scalar.is_static, scalar.smallest(), str(scalar)) == (True, (), "s: int64 scalar")


SIGNATURE = Signature(
    (TensorSpec("image", "float32", (Dim(1, 4), 3, 8)), TensorSpec("ids", "int64", (2,))), ()
)
IDS = np.zeros(2, np.int64)


def test_feeds_that_fit() -> None:
    for batch in (1, 4):
        SIGNATURE.check({"ids": IDS, "image": np.zeros((batch, 3, 8), np.float32)})


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, ["The feeds are named []", "exactly ['ids', 'image']"]),
        ({"image": IDS}, ["['image']", "['ids', 'image']"]),
        ({"image": IDS, "ids": IDS, "more": IDS}, ["['ids', 'image', 'more']"]),
        ({"picture": IDS, "ids": IDS}, ["['ids', 'picture']"]),
        (
            {"ids": IDS, "image": np.zeros((1, 3, 8))},
            ["'image' has element type float64", "float32 of shape 1..4x3x8", "astype('float32')"],
        ),
        (
            {"ids": IDS, "image": np.zeros((3, 8), np.float32)},
            ["has 2 dimensions, shape [3, 8]", "array[None]"],
        ),
        (
            {"ids": IDS, "image": np.zeros((1, 1, 3, 8), np.float32)},
            ["has 4 dimensions", "Resize the data"],
        ),
        (
            {"ids": IDS, "image": np.zeros((5, 3, 8), np.float32)},
            ["has shape [5, 3, 8]", "1..4x3x8", "--input x=1..16x3x224x224"],
        ),
        ({"ids": IDS, "image": np.zeros((1, 3, 9), np.float32)}, ["has shape [1, 3, 9]"]),
        ({"ids": IDS, "image": np.zeros((0, 3, 8), np.float32)}, ["has shape [0, 3, 8]"]),
        ({"ids": [0, 0], "image": np.zeros((1, 3, 8), np.float32)}, ["'ids'", "list", "int64"]),
        ({"ids": 3, "image": np.zeros((1, 3, 8), np.float32)}, ["'ids'", "int"]),
    ],
)
def test_feeds_that_do_not_fit(feeds: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(FeedsError) as caught:
        SIGNATURE.check(feeds)
    for word in words:
        assert word in str(caught.value)


def test_big_endian_is_another_element_type() -> None:
    with pytest.raises(FeedsError, match="element type >f4"):
        Signature((TensorSpec("x", "float32", (1,)),), ()).check({"x": np.zeros(1, ">f4")})


class TestBlob:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "data.bin"
        path.write_bytes(bytes(range(100)))
        return path

    def test_whole_file(self, path: Path) -> None:
        blob = Blob(path)
        assert (blob.whole_file, blob.size_bytes) == (path, 100)
        assert bytes(blob.view()) == bytes(range(100))

    @pytest.mark.parametrize(("offset", "length"), [(0, 10), (10, 20), (90, 10), (40, 0), (100, 0)])
    def test_slice(self, path: Path, offset: int, length: int) -> None:
        blob = Blob(path, offset, length)
        assert (blob.whole_file, blob.size_bytes) == (None, length)
        assert bytes(blob.view()) == bytes(range(100))[offset : offset + length]

    def test_slice_to_the_end(self, path: Path) -> None:
        blob = Blob(path, 60)
        assert (blob.whole_file, blob.size_bytes) == (None, 40)
        assert bytes(blob.view()) == bytes(range(60, 100))

    def test_view_is_read_only_and_outlives_the_blob(self, path: Path) -> None:
        view = Blob(path, 10, 5).view()
        path.unlink()
        assert bytes(view) == bytes(range(10, 15))
        assert view.readonly

    @pytest.mark.parametrize(("offset", "length"), [(0, 101), (95, 6), (100, 1), (2**40, 1)])
    def test_beyond_the_end(self, path: Path, offset: int, length: int) -> None:
        with pytest.raises(BundleError) as caught:
            Blob(path, offset, length).view()
        assert f"{path} ends at byte 100" in str(caught.value)
        assert f"at least {offset + length} bytes" in str(caught.value)

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert bytes(Blob(tmp_path / "empty").view()) == b""
        with pytest.raises(BundleError, match="ends at byte 0"):
            Blob(tmp_path / "empty", 0, 1).view()


class TestErrors:
    def test_one_paragraph(self) -> None:
        error = ModelportError("It rains.", expected="sunshine", hint="Take a coat.")
        assert str(error) == "It rains. Expected sunshine. Take a coat."

    def test_module_path_comes_first(self) -> None:
        error = ModelportError("it rains", module_path="layer1.0.conv")
        assert str(error) == "In module layer1.0.conv: it rains."

    def test_every_error_is_drawn_in_the_tree(self) -> None:
        drawn = inspect.getdoc(errors) or ""
        members = [
            member
            for _, member in inspect.getmembers(errors, inspect.isclass)
            if issubclass(member, ModelportError)
        ]
        lines = drawn.splitlines()
        for member in members:
            line = next(line for line in lines if member.__name__ in line.split())
            depth = (len(line) - len(line.lstrip(" │├└─"))) // 4
            assert depth == len(member.__mro__) - len(ModelportError.__mro__) + 1, member

    def test_they_survive_a_child_process(self) -> None:
        copy = pickle.loads(pickle.dumps(BundleError("It rains", expected="sun", hint="Wait")))
        assert isinstance(copy, BundleError)
        assert str(copy) == "It rains. Expected sun. Wait."

"""Files that are not the ONNX models they are said to be: each is a SourceError that helps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.errors import GraphError, ModelportError, SourceError
from modelport.graph import invariants, io
from modelport.graph.query import constant_of, operator_counts, signature_of

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
main (float[N,3] x, bool flag) => (float[N,4] y) {
    a = MatMul (x, w)
    y = If (flag) <
        then_branch = yes () => (float[N,4] p) { p = Add (a, b) },
        else_branch = no () => (float[N,4] q) { q = Relu (a) }
    >
}
"""


def model() -> ir.Model:
    generator = np.random.default_rng(0)
    weights = {"w": generator.standard_normal((3, 4)), "b": generator.standard_normal(4)}
    return ir.from_onnx_text(
        TEXT, initializers=[ir.tensor(a.astype(np.float32), name=n) for n, a in weights.items()]
    )


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    io.save(model(), path)
    return path


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A model whose weights lie in a file beside it."""
    path = tmp_path / "split.onnx"
    ir.save(model(), path, external_data="split.data", size_threshold_bytes=0)
    return path


def refused(path: Path, *words: str) -> str:
    with pytest.raises(SourceError) as caught:
        io.load(path)
    text = str(caught.value)
    for word in (path.name, *words):
        assert word in text
    assert text.count("\n") == 0
    assert len(text) < 800
    return text


def test_whole_models_load(whole: Path, split: Path) -> None:
    for path in (whole, split):
        loaded = io.load(path)
        invariants.check(loaded)
        assert operator_counts(loaded) == {"Add": 1, "If": 1, "MatMul": 1, "Relu": 1}
        assert [spec.name for spec in signature_of(loaded).inputs] == ["x", "flag"]
        expected = constant_of(model().graph.initializers["w"])
        np.testing.assert_array_equal(constant_of(loaded.graph.initializers["w"]), expected)


def test_weights_beside_the_model_are_saved_inside(split: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    io.save(io.load(split), tmp_path / "elsewhere" / "one.onnx")
    (tmp_path / "split.data").unlink()
    loaded = io.load(tmp_path / "elsewhere" / "one.onnx")
    assert constant_of(loaded.graph.initializers["b"]) is not None
    assert os.listdir(tmp_path / "elsewhere") == ["one.onnx"]


@pytest.mark.parametrize("kind", ["seq(float[2])", "optional(float[2])", "string[2]", "float"])
def test_inputs_that_no_feed_can_be(kind: str) -> None:
    text = f'<ir_version: 10, opset_import: ["" : 20]>\nmain ({kind} x) => ({kind} y) {{ y = Identity (x) }}'
    if kind == "float":
        assert signature_of(ir.from_onnx_text(text)).inputs[0].shape == ()
        return
    with pytest.raises(GraphError, match="'x'"):
        signature_of(ir.from_onnx_text(text))


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "There is no file", "Check the path")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "There is no file")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    refused(tmp_path / "empty.onnx", "empty")


@pytest.mark.parametrize(
    "data",
    [
        b"Not a model at all.\n" * 40,
        b"<html><body>404</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        b"PK\x03\x04" + bytes(60),
        b"\x80\x04\x95" + bytes(60),
        b"\x00" * 100,
        b"\xff" * 100,
        b"\x08\x0a",
        b"\x08\x0a\x3a\x00",
    ],
)
@pytest.mark.parametrize("suffix", [".onnx", ".textproto", ".json", ".onnxtxt", ""])
def test_other_files(tmp_path: Path, data: bytes, suffix: str) -> None:
    """The suffix chooses a format; none of them may raise in its own words."""
    path = tmp_path / f"other{suffix}"
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("part", [0.05, 0.2, 0.5, 0.8, 0.95, 0.99])
def test_cut_short(whole: Path, part: float) -> None:
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * part)])
    refused(whole)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(data=st.binary(max_size=200))
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(data)
    refused(path)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6
    )
)
def test_damaged_bytes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]
) -> None:
    """A model or an error of ours: from loading, from asking for the signature, or from checking."""
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    io.save(model(), path)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[int(place * len(data))] = value
    path.write_bytes(data)
    try:
        loaded = io.load(path)
        invariants.check(loaded)
        signature_of(loaded)
    except ModelportError:
        return
    operator_counts(loaded)


class TestExternalData:
    def test_missing(self, split: Path) -> None:
        (split.parent / "split.data").unlink()
        refused(split, "split.data", "missing", "beside the model")

    @pytest.mark.parametrize("size", [0, 1, 63])
    def test_cut_short(self, split: Path, size: int) -> None:
        path = split.parent / "split.data"
        path.write_bytes(path.read_bytes()[:size])
        text = refused_data(split)
        assert "split.data ends before the weight" in text
        assert "cut short" in text

    def test_folder_in_its_place(self, split: Path) -> None:
        (split.parent / "split.data").unlink()
        (split.parent / "split.data").mkdir()
        refused(split, "split.data")

    @pytest.mark.parametrize("where", ["../secret.data", "a/../../secret.data", "/etc/hostname"])
    def test_outside_its_folder(self, tmp_path: Path, where: str) -> None:
        """A model from elsewhere must not read files of this machine into its weights."""
        (tmp_path / "inner" / "a").mkdir(parents=True)
        (tmp_path / "secret.data").write_bytes(bytes(1000))
        path = tmp_path / "inner" / "split.onnx"
        point_to(path, where)
        refused(path, "outside", "split.onnx")

    def test_link_that_leads_outside(self, split: Path, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        split.rename(inner / "split.onnx")
        (inner / "split.data").symlink_to(tmp_path / "split.data")
        refused(inner / "split.onnx", "outside")

    def test_link_inside(self, split: Path, tmp_path: Path) -> None:
        (tmp_path / "split.data").rename(tmp_path / "kept.data")
        (tmp_path / "split.data").symlink_to("kept.data")
        assert constant_of(io.load(split).graph.initializers["w"]).shape == (3, 4)

    def test_link_to_itself(self, split: Path, tmp_path: Path) -> None:
        (tmp_path / "split.data").unlink()
        (tmp_path / "split.data").symlink_to("split.data")
        refused(split, "split.data")

    def test_in_a_folder_below(self, tmp_path: Path) -> None:
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "w.data").write_bytes(np.ones(12, np.float32).tobytes())
        point_to(tmp_path / "split.onnx", "weights/w.data")
        loaded = io.load(tmp_path / "split.onnx")
        assert constant_of(loaded.graph.initializers["w"]).tolist() == [[1] * 4] * 3

    @pytest.mark.parametrize("where", ["", ".", "nul\0byte", "x" * 300])
    def test_names_of_no_file(self, tmp_path: Path, where: str) -> None:
        point_to(tmp_path / "split.onnx", where)
        refused(tmp_path / "split.onnx")

    @pytest.mark.parametrize(
        ("offset", "length"), [(-8, None), (0, 4), (10**15, None), (0, 10**15), (0, -1)]
    )
    def test_sizes_that_cannot_be(self, tmp_path: Path, offset: int, length: int | None) -> None:
        (tmp_path / "w.data").write_bytes(bytes(48))
        point_to(tmp_path / "split.onnx", "w.data", offset=offset, length=length)
        refused_data(tmp_path / "split.onnx")

    def test_of_a_weight_inside_a_branch(self, tmp_path: Path) -> None:
        path = tmp_path / "branch.onnx"
        changed = model()
        branch = changed.graph[1].attributes["then_branch"].as_graph()
        weight = changed.graph.initializers.pop("b")
        branch.register_initializer(weight)
        ir.save(changed, path, external_data="branch.data", size_threshold_bytes=0)
        (tmp_path / "branch.data").write_bytes(b"")
        text = refused_data(path)
        assert "branch.data" in text

    def test_of_a_constant_node(self, tmp_path: Path) -> None:
        path = tmp_path / "constant.onnx"
        changed = ir.from_onnx_text(
            '<ir_version: 10, opset_import: ["" : 20]>\n'
            "main (float[2] x) => (float[2] y) "
            "{ c = Constant <value = float[2] {1, 2}> ()\n y = Add (x, c) }"
        )
        node = changed.graph[0]
        node.attributes["value"] = ir.AttrTensor("value", external(tmp_path, "gone.data", [2]))
        ir.save(changed, path)
        refused(path, "gone.data", "missing")


def refused_data(path: Path) -> str:
    """The message names the data file where that is at fault, else the model."""
    with pytest.raises(SourceError) as caught:
        io.load(path)
    return str(caught.value)


def external(
    folder: Path, where: str, shape: list[int], offset: int = 0, length: int | None = None
) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        where, offset, length, ir.DataType.FLOAT, shape=ir.Shape(shape), name="w", base_dir=folder
    )


def point_to(path: Path, where: str, *, offset: int = 0, length: int | None = None) -> None:
    """Saves a model whose weight `w` lies wherever we say; nothing there is read or written."""
    changed = model()
    weight = changed.graph.initializers["w"]
    weight.const_value = external(path.parent, where, [3, 4], offset, length)
    ir.save(changed, path)

"""What of ncnn no other engine has: pnnx's mistakes, sizes of pictures, Vulkan, its own int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx  # noqa: TID251 - test_engines writes graphs with it
import onnx_ir as ir
import pytest
from test_engines import (
    convolutions,
    engine_or_skip,
    feeds_of,
    graph,
    two_by_two,
    weights,
)

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.engines.scratch import opened
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Feeds, Target


@pytest.fixture
def ncnn() -> Engine:
    return engine_or_skip("ncnn")


def close(engine: Engine, model: ir.Model, feeds: list[Feeds]) -> None:
    with opened(ENGINES.get("onnxruntime"), model, Target()) as oracle:
        want = [oracle.run(feed) for feed in feeds]
    with opened(engine, model, Target(threads=1)) as session:
        got = [session.run(feed) for feed in feeds]
    for one, other in zip(want, got, strict=True):
        for name, array in one.items():
            np.testing.assert_allclose(other[name], array, rtol=1e-4, atol=1e-5)


def test_pictures_of_any_size(ncnn: Engine) -> None:
    """Flattened too, which takes an expression in ncnn's own terms."""
    model = graph(
        "a = Conv<pads = [1, 1, 1, 1]>(x, w)\nb = Relu(a)\nc = Shape<start = 0, end = 2>(b)\n"
        "d = Concat<axis = 0>(c, rest)\ny = Reshape(b, d)",
        "float[batch, 3, height, width] x",
        "float[batch, 8, places] y",
        w=weights(8, 3, 3, 3, seed=1, gain=0.3),
        rest=integers(-1),
    )
    generator = np.random.default_rng(1)
    sizes = [(1, 3, 8, 8), (2, 3, 12, 20), (1, 3, 8, 9)]
    close(ncnn, model, [{"x": generator.standard_normal(s).astype(np.float32)} for s in sizes])


def integers(*numbers: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(numbers, np.int64))


def test_reductions_of_one_axis(ncnn: Engine) -> None:
    """pnnx itself drops such an axis, and says nothing."""
    kinds = [(op, keep) for op in ("ReduceSum", "ReduceMean", "ReduceL2") for keep in (0, 1)]
    body = "".join(f"\n{op}{keep} = {op}<keepdims = {keep}>(a, axis)" for op, keep in kinds)
    gives = [f"float[1, 4, {'1, 6' if keep else '6'}] {op}{keep}" for op, keep in kinds]
    given = "float[1, 4, 8, 6] x"
    table = weights(4, 4, 1, 1, seed=1)
    model = graph(f"a = Conv(x, w){body}", given, ", ".join(gives), w=table, axis=integers(2))
    close(ncnn, model, feeds_of(model, range(2)))


def test_the_largest_of_pictures(ncnn: Engine, tmp_path: Path) -> None:
    body = "a = Conv(x, w)\ny = ReduceMax<keepdims = 0>(a, axes)"
    takes, table = "float[1, 4, 8, 6] x", weights(4, 4, 1, 1, seed=1)
    model = graph(body, takes, "float[1, 4] y", w=table, axes=integers(2, 3))
    close(ncnn, model, feeds_of(model, range(2)))
    model = graph(body, takes, "float[1, 8, 6] y", w=table, axes=integers(1))
    with pytest.raises(EngineError, match="ncnn failed while compiling: it lacks ReduceMax"):
        ncnn.compile(model, Target(), tmp_path)


def test_integers_are_rows_of_tables_alone(ncnn: Engine, tmp_path: Path) -> None:
    """ncnn would take the bits of others for floats."""
    model = graph("f = Cast<to = 1>(n)\ny = Mul(f, f)", "int64[1, 4] n", "float[1, 4] y")
    with pytest.raises(EngineError, match="ncnn failed while compiling: it "):
        ncnn.compile(model, Target(), tmp_path)
    model = graph("y = ArgMax<axis = 1>(x)", "float[1, 4] x", "int64[1, 1] y")
    with pytest.raises(EngineError, match="it gives float32 alone, and the output y: int64 1x1"):
        ncnn.compile(model, Target(), tmp_path)


def test_vulkan_is_refused_where_there_is_no_gpu(ncnn: Engine, tmp_path: Path) -> None:
    artifact = ncnn.compile(two_by_two(), Target(device="vulkan"), tmp_path)
    assert artifact.options["device"] == "vulkan"
    with pytest.raises(EngineUnavailableError, match=r"ncnn finds .* GPUs with a Vulkan driver"):
        ncnn.load(artifact, device="vulkan:9")
    with pytest.raises(
        EngineUnavailableError, match="ncnn has no device 'npu'; it has cpu, vulkan"
    ):
        ncnn.load(artifact, device="npu")
    ncnn.load(artifact, device="cpu").close()


def test_int8_is_int8_and_says_what_it_needs(ncnn: Engine, tmp_path: Path) -> None:
    model = convolutions()
    with pytest.raises(EngineError, match="int8 needs calibration data"):
        ncnn.compile(model, Target(precision="int8"), tmp_path)
    feeds = feeds_of(model, range(4))
    sizes, results = [], []
    for precision in ("fp32", "int8"):
        folder = tmp_path / precision
        folder.mkdir()
        artifact = ncnn.compile(model, Target(precision=precision), folder, feeds)
        sizes.append(artifact.files["weights"].size_bytes)
        with ncnn.load(artifact, threads=1) as session:
            results.append(session.run(feeds[0])["y"])
    whole, small = sizes
    assert small < whole / 2
    want, got = results
    assert not np.allclose(want, got, rtol=1e-5, atol=1e-6)
    assert np.abs(want - got).max() < 0.1 * np.abs(want).max()

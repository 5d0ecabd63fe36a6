"""What of MNN no other engine has: words of its converter, sizes of pictures, integers, devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_engines import engine_or_skip, graph, lookup, two_by_two, weights

from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Target


def test_pictures_of_any_size() -> None:
    model = graph(
        "a = Conv<pads = [1, 1, 1, 1]>(x, w)\nb = Relu(a)\nc = MaxPool<kernel_shape = [2, 2], "
        "strides = [2, 2]>(b)\ny = GlobalAveragePool(c)",
        "float[batch, 3, height, width] x",
        "float[batch, 8, 1, 1] y",
        w=weights(8, 3, 3, 3, seed=1, gain=0.3),
    )
    generator = np.random.default_rng(1)
    sizes = [(1, 3, 8, 8), (2, 3, 12, 20), (1, 3, 8, 8)]
    feeds = [{"x": generator.standard_normal(size).astype(np.float32)} for size in sizes]
    with opened(ENGINES.get("onnxruntime"), model, Target()) as oracle:
        want = [oracle.run(feed) for feed in feeds]
    with opened(engine_or_skip("mnn"), model, Target(threads=1)) as session:
        got = [session.run(feed) for feed in feeds]
    for one, other in zip(want, got, strict=True):
        np.testing.assert_allclose(other["y"], one["y"], rtol=1e-4, atol=1e-5)


def test_all_operators_that_it_lacks_are_named(tmp_path: Path) -> None:
    model = graph("a = NoSuchOperator(x)\ny = NorThis(a)", "float[1] x", "float[1] y")
    with pytest.raises(EngineError) as caught:
        engine_or_skip("mnn").compile(model, Target(), tmp_path)
    assert str(caught.value) == "mnn failed while compiling: it lacks NoSuchOperator, NorThis."


def test_integers_beyond_its_own_are_refused() -> None:
    with opened(engine_or_skip("mnn"), lookup(), Target(threads=1)) as session:
        feeds = {"index": np.full((1, 7), 2**40)}
        with pytest.raises(EngineError, match="mnn computes with int32 here, and int64 values up"):
            session.run(feeds)
        session.run({"index": np.full((1, 7), 3)})  # and the session still works


def test_other_devices_are_refused(tmp_path: Path) -> None:
    engine = engine_or_skip("mnn")
    artifact = engine.compile(two_by_two(), Target(), tmp_path)
    with pytest.raises(EngineUnavailableError, match="mnn has no device 'gpu' here"):
        engine.load(artifact, device="gpu")

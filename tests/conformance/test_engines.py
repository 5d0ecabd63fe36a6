"""Every engine that this machine has gives what the reference gives, and keeps the contract."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes graphs as text, as another tool would
import onnx_ir as ir
import pytest

from modelport.engines import ENGINES
from modelport.engines.base import Engine, Session
from modelport.engines.routes import GRAPH
from modelport.engines.scratch import opened
from modelport.errors import EngineError, EngineUnavailableError, FeedsError
from modelport.feeds import random_feeds
from modelport.graph.io import from_proto
from modelport.graph.query import set_bounds, signature_of
from modelport.optimization import optimize
from modelport.quantize import SCHEMES
from modelport.quantize.nncf import available as nncf_missing
from modelport.quantize.nncf import quantize
from modelport.types import (
    PRECISIONS,
    QUANTIZED,
    Artifact,
    Blob,
    Dim,
    Feeds,
    Signature,
    Target,
    TensorSpec,
)
from modelport.verify.compare import compare, run_all
from modelport.verify.tolerances import TOLERANCES

ORACLE = "reference"
TESTED = [name for name in ENGINES if name not in (ORACLE, "null")]
CALIBRATION = 16


def weights(*shape: int, seed: int, gain: float = 1.0) -> onnx.TensorProto:
    array = np.random.default_rng(seed).standard_normal(shape) * gain
    return onnx.numpy_helper.from_array(array.astype(np.float32))


def graph(body: str, takes: str, gives: str, **initializers: onnx.TensorProto) -> ir.Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]>\nmain ({takes}) => ({gives}) {{\n{body}\n}}'
    )
    for name, tensor in initializers.items():
        tensor.name = name
        proto.graph.initializer.append(tensor)
    model = from_proto(proto)
    for index, node in enumerate(model.graph):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def convolutions() -> ir.Model:
    """Two convolutions with a BatchNorm, which the portable passes fold."""
    model = graph(
        """
        a = Conv<pads = [1, 1, 1, 1]>(x, first)
        b = BatchNormalization(a, scale, shift, average, variance)
        c = Relu(b)
        y = Conv<strides = [2, 2]>(c, second)
        """,
        "float[1, 3, 12, 12] x",
        "float[1, 6, 5, 5] y",
        first=weights(8, 3, 3, 3, seed=1, gain=0.3),
        second=weights(6, 8, 3, 3, seed=2, gain=0.2),
        scale=weights(8, seed=3),
        shift=weights(8, seed=4),
        average=weights(8, seed=5),
        variance=onnx.numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32)),
    )
    folded = optimize(model).model
    assert not any(node.op_type == "BatchNormalization" for node in folded.graph)
    return folded


def gemm() -> ir.Model:
    return graph(
        "h = Gemm<transB = 1>(x, w, b)\nr = Relu(h)\ny = MatMul(r, v)",
        "float[4, 16] x",
        "float[4, 5] y",
        w=weights(32, 16, seed=1, gain=0.3),
        b=weights(32, seed=2, gain=0.1),
        v=weights(32, 5, seed=3, gain=0.2),
    )


def two_by_two() -> ir.Model:
    return graph(
        "p = MatMul(left, w)\nq = MatMul(right, w)\ntotal = Add(p, q)\nrest = Sub(p, q)",
        "float[2, 8] left, float[2, 8] right",
        "float[2, 6] total, float[2, 6] rest",
        w=weights(8, 6, seed=1, gain=0.4),
    )


def lookup() -> ir.Model:
    """Integer input: rows of a table, then a product."""
    return graph(
        "rows = Gather(table, index)\ny = MatMul(rows, w)",
        "int64[1, 7] index",
        "float[1, 7, 4] y",
        table=weights(100, 8, seed=1),
        w=weights(8, 4, seed=2, gain=0.4),
    )


def free_batch() -> ir.Model:
    model = graph(
        "a = Conv<pads = [1, 1, 1, 1]>(x, w)\nb = Relu(a)\nc = GlobalAveragePool(b)\n"
        "d = Flatten(c)\ny = Gemm(d, v, z)",
        "float[batch, 3, 8, 8] x",
        "float[batch, 4] y",
        w=weights(8, 3, 3, 3, seed=1, gain=0.3),
        v=weights(8, 4, seed=2),
        z=weights(4, seed=3),
    )
    set_bounds(model.graph.inputs[0], TensorSpec("x", "float32", (Dim(1, 4), 3, 8, 8)))
    return model


def scalars() -> ir.Model:
    """One number to a feed, once as a vector of one and once without any axis."""
    return graph(
        "h = MatMul(x, w)\nmean = ReduceMean<keepdims = 0>(h)\nfirst = Add(mean, one)",
        "float[3, 16] x",
        "float mean, float[1] first",
        w=weights(16, 8, seed=1),
        one=onnx.numpy_helper.from_array(np.ones(1, np.float32)),
    )


MODELS: dict[str, Callable[[], ir.Model]] = {
    each.__name__: each for each in (convolutions, gemm, two_by_two, lookup, free_batch, scalars)
}

REFUSED = {
    ("caffe", "lookup"): "blobs are of float32",
    ("caffe", "scalars"): "blobs have axes",
}
"""What an engine cannot do at all, by engine and model, with words that it says of it."""

BUILT: dict[tuple[str, str], ir.Model] = {}


def built(name: str, precision: str) -> ir.Model:
    """The model, quantized where the precision wants that; made once."""
    if (name, precision) not in BUILT:
        model = MODELS[name]()
        if precision in QUANTIZED:
            feeds = feeds_of(model, range(10, 10 + CALIBRATION))
            model = quantize(model, SCHEMES.get(precision), feeds)
        BUILT[name, precision] = model
    return BUILT[name, precision]


def feeds_of(model: ir.Model, seeds: range) -> list[Feeds]:
    signature = signature_of(model)
    feeds = [random_feeds(signature, seed) for seed in seeds]
    if any(not spec.is_static for spec in signature.inputs):
        generator = np.random.default_rng(99)
        feeds.append({"x": generator.standard_normal((3, 3, 8, 8)).astype(np.float32)})
    return feeds


def plain(engine: Engine, threads: int = 0) -> Target:
    """The target that is closest to the source: some engines have no fp32."""
    return Target(precision=engine.precisions[0], threads=threads)


def engine_or_skip(name: str, precision: str | None = None) -> Engine:
    """The engine, where it has that precision here; or any at all, where none is named."""
    engine = ENGINES.get(name)
    precision = precision or plain(engine).precision
    reason = engine.refuses(Target(precision=precision))
    if reason is not None:
        pytest.skip(f"{name} at {precision}: {reason}")
    if GRAPH not in engine.routes:
        pytest.skip(f"{name} compiles PyTorch programs alone; see test_networks")
    return engine


def skip_refused(name: str, model: str) -> None:
    if (name, model) in REFUSED:
        pytest.skip(f"{name} refuses it: {REFUSED[name, model]}")


def skip_free_sizes(engine: Engine, model: ir.Model) -> None:
    free = any(not spec.is_static for spec in signature_of(model).inputs)
    if free and not engine.rules.free_sizes:
        pytest.skip(f"{engine.name} takes fixed sizes only; see test_networks")


def subject(engine: Engine, model: str, precision: str) -> tuple[ir.Model, list[Feeds]]:
    """The graph that the engine gets, and feeds for one that quantizes by itself."""
    if precision in QUANTIZED and engine.rules.quantization == "own":
        graph = built(model, "fp32")
        return graph, feeds_of(graph, range(10, 10 + CALIBRATION))
    if precision in QUANTIZED and (reason := nncf_missing()):
        pytest.skip(reason)
    return built(model, precision), []


@contextmanager
def running(
    engine: Engine, model: ir.Model, target: Target, calibration: Sequence[Feeds] = ()
) -> Iterator[Session]:
    """A session; where this machine only converts for the engine it does that, and skips the rest."""
    reason = engine.cannot_run()
    if reason is None and not calibration:
        with opened(engine, model, target) as session:
            yield session
        return
    with TemporaryDirectory(prefix="modelport-") as folder:
        artifact = engine.compile(model, target, Path(folder), calibration)
        if reason is not None:
            pytest.skip(f"{engine.name} compiled it; {reason}")
        with engine.load(artifact, threads=target.threads) as session:
            yield session


def running_engine_or_skip(name: str, precision: str | None = None) -> Engine:
    engine = engine_or_skip(name, precision)
    if reason := engine.cannot_run():
        pytest.skip(f"{name} only compiles here: {reason}")
    return engine


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session over two inputs and two outputs."""
    engine = running_engine_or_skip(request.param)
    with opened(engine, two_by_two(), plain(engine, threads=1)) as found:
        yield found


every_session = pytest.mark.parametrize("session", list(ENGINES), indirect=True)


def some_feeds(seed: int = 1) -> dict[str, Any]:
    return dict(random_feeds(signature_of(two_by_two()), seed))


# --- results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", TESTED)
def test_engine_agrees_with_the_reference(name: str, model: str, precision: str) -> None:
    """Of a quantized graph too the oracle is the reference: the engine is judged, not the scheme."""
    engine = engine_or_skip(name, precision)
    skip_refused(name, model)
    graph, calibration = subject(engine, model, precision)
    skip_free_sizes(engine, graph)
    feeds = feeds_of(graph, range(2))
    with opened(ENGINES.get(ORACLE), graph, Target()) as oracle:
        want = run_all(oracle, feeds)
        signature = oracle.signature
    with running(engine, graph, Target(precision=precision, threads=1), calibration) as session:
        got = run_all(session, feeds)
        assert session.signature == signature
    for one, other in zip(want, got, strict=True):
        assert list(other) == [spec.name for spec in signature.outputs]
        for spec in signature.outputs:
            assert other[spec.name].dtype == spec.dtype
            assert other[spec.name].shape == one[spec.name].shape
    fidelity = compare(want, got, signature, precision, classes=False)
    assert fidelity.passed, fidelity.reasons


@pytest.mark.parametrize("model", ["convolutions", "gemm", "free_batch"])
def test_quantized_models_stay_close_to_what_they_were(model: str) -> None:
    """So that agreement about a quantized graph is agreement about something sensible."""
    if reason := nncf_missing():
        pytest.skip(reason)
    feeds = feeds_of(built(model, "fp32"), range(2))
    outputs = []
    for precision in ("fp32", "int8"):
        with opened(ENGINES.get(ORACLE), built(model, precision), Target()) as oracle:
            outputs.append(run_all(oracle, feeds))
    fidelity = compare(*outputs, signature_of(built(model, "fp32")), "int8", classes=False)
    assert fidelity.by_output["y"].cosine_mean is not None
    assert fidelity.by_output["y"].cosine_mean > TOLERANCES["int8"].cosine_mean


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", TESTED)
def test_answers_move_with_the_feeds(name: str, model: str) -> None:
    engine = running_engine_or_skip(name)
    skip_refused(name, model)
    graph = built(model, "fp32")
    skip_free_sizes(engine, graph)
    first, second, *_ = feeds_of(graph, range(2))
    with opened(engine, graph, plain(engine, threads=1)) as session:
        one, other = session.run(first), session.run(second)
    assert all(not np.array_equal(one[key], other[key]) for key in one)


CONSTANTS = {
    "constant": "k = Constant<value = float[2] {3.0, 4.0}>()",
    "initializer": "",
    "read too": "z = Add(x, k)",
}


@pytest.mark.parametrize("form", CONSTANTS)
@pytest.mark.parametrize("name", TESTED)
def test_constant_outputs_are_given_or_refused(name: str, form: str, tmp_path: Path) -> None:
    """An engine that writes what its nodes compute may leave such an output as it found the memory."""
    engine = running_engine_or_skip(name)
    value = np.array([3, 4], np.float32)
    kept = {} if form == "constant" else {"k": onnx.numpy_helper.from_array(value)}
    more = ", float[2, 2] z" if form == "read too" else ""
    model = graph(
        f"{CONSTANTS[form]}\ny = Relu(x)",
        "float[2, 2] x",
        f"float[2] k, float[2, 2] y{more}",
        **kept,
    )
    try:
        with engine.load(engine.compile(model, plain(engine), tmp_path)) as session:
            outputs = session.run({"x": np.full((2, 2), 7, np.float32)})
    except EngineError:  # whose words other tests read
        return
    np.testing.assert_allclose(outputs["k"], value, rtol=1e-2)
    np.testing.assert_allclose(outputs["y"], np.full((2, 2), 7), rtol=1e-2)
    if more:
        np.testing.assert_allclose(outputs["z"], [[10, 11]] * 2, rtol=1e-2)


@pytest.mark.parametrize("name", ["null", ORACLE])
@pytest.mark.parametrize("model", MODELS)
def test_oracle_and_null_promise_the_shapes(name: str, model: str) -> None:
    engine = engine_or_skip(name)
    graph = built(model, "fp32")
    with opened(engine, graph, Target()) as session:
        for feeds in feeds_of(graph, range(1)):
            outputs = session.run(feeds)
            for spec in session.signature.outputs:
                assert spec.mismatch(outputs[spec.name]) is None


# --- the contract of a session ------------------------------------------------------------------


@every_session
def test_session_closes_once(session: Session) -> None:
    with session as same:
        assert same is session
        session.run(some_feeds())
    session.close()
    session.close()
    with pytest.raises(EngineError) as caught:
        session.run(some_feeds())
    assert str(caught.value) == (
        f"This {session.engine} session is closed. Run it inside its with block, or load it again."
    )


@every_session
def test_outputs_belong_to_the_caller(session: Session) -> None:
    first = session.run(some_feeds())
    kept = {name: array.copy() for name, array in first.items()}
    for array in first.values():
        array += 1000  # must be writable, and nobody else's
    second = session.run(some_feeds())
    for name, array in kept.items():
        np.testing.assert_array_equal(second[name], array)
    held = {name: array.copy() for name, array in second.items()}
    session.run(some_feeds(seed=2))
    for name, array in held.items():
        np.testing.assert_array_equal(second[name], array)


@every_session
def test_feeds_are_only_read(session: Session) -> None:
    feeds = some_feeds()
    before = {name: array.copy() for name, array in feeds.items()}
    want = session.run(feeds)
    for name, array in before.items():
        np.testing.assert_array_equal(feeds[name], array)
        feeds[name].setflags(write=False)
    got = session.run(feeds)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


@every_session
def test_feeds_may_change_between_runs(session: Session) -> None:
    """A session may not keep the caller's buffer and read it later."""
    if session.engine == "null":
        pytest.skip("null gives zeros for everything")
    feeds = some_feeds()
    first = {name: array.copy() for name, array in session.run(feeds).items()}
    feeds["left"] *= 2
    second = session.run(feeds)
    assert all(not np.array_equal(first[name], second[name]) for name in first)


@every_session
def test_order_of_the_feeds_does_not_matter(session: Session) -> None:
    feeds = some_feeds()
    want, got = session.run(feeds), session.run(dict(reversed(feeds.items())))
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


@every_session
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left": None}, "The feeds are named ['right']. Expected exactly ['left', 'right']."),
        ({"third": np.zeros(1)}, "The feeds are named ['left', 'right', 'third']."),
        ({"left": np.zeros((2, 9), np.float32)}, "The input 'left' has shape [2, 9]."),
        ({"left": np.zeros((8,), np.float32)}, "The input 'left' has 1 dimensions, shape [8]."),
        ({"left": np.zeros((2, 8))}, "The input 'left' has element type float64."),
    ],
    ids=["missing", "surplus", "shape", "rank", "dtype"],
)
def test_wrong_feeds_are_refused(session: Session, change: dict[str, Any], said: str) -> None:
    feeds = {name: value for name, value in {**some_feeds(), **change}.items() if value is not None}
    with pytest.raises(FeedsError) as caught:
        session.run(feeds)
    assert str(caught.value).startswith(said)
    session.run(some_feeds())  # and the session still works


@pytest.mark.parametrize("name", TESTED)
def test_two_sessions_of_one_artifact_do_not_meet(name: str, tmp_path: Path) -> None:
    engine = running_engine_or_skip(name)
    artifact = engine.compile(two_by_two(), plain(engine), tmp_path)
    with engine.load(artifact, threads=1) as one, engine.load(artifact, threads=2) as other:
        first = one.run(some_feeds())
        other.run(some_feeds(seed=2))
        one.close()
        got = other.run(some_feeds())
    for key, array in first.items():
        np.testing.assert_allclose(got[key], array, rtol=1e-5, atol=1e-6)


# --- loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TESTED)
def test_slices_of_an_archive_load_as_files_do(name: str, precision: str, tmp_path: Path) -> None:
    engine = running_engine_or_skip(name, precision)
    graph, calibration = subject(engine, "convolutions", precision)
    folder = tmp_path / "artifact"
    folder.mkdir()
    artifact = engine.compile(graph, Target(precision=precision), folder, calibration)
    packed = in_archive(artifact, tmp_path / "bundle.zip")
    assert all(blob.whole_file is None for blob in packed.files.values())
    feeds = feeds_of(graph, range(1))[0]
    with engine.load(artifact, threads=1) as one, engine.load(packed, threads=1) as other:
        want, got = one.run(feeds), other.run(feeds)
    for key, array in want.items():
        np.testing.assert_array_equal(got[key], array)


def in_archive(artifact: Artifact, path: Path) -> Artifact:
    """The artifact as slices of one stored archive, not at its beginning."""
    blobs = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("before.txt", b"something else")
        for blob in artifact.files.values():
            archive.write(blob.path, blob.path.name)
    content = path.read_bytes()
    for role, blob in artifact.files.items():
        data = blob.path.read_bytes()
        blobs[role] = Blob(path, content.index(data), len(data))
    return replace(artifact, files=blobs)


@pytest.mark.parametrize("name", TESTED)
def test_a_damaged_artifact_is_an_engine_error(name: str, tmp_path: Path) -> None:
    engine = running_engine_or_skip(name)
    artifact = engine.compile(two_by_two(), plain(engine), tmp_path)
    artifact.files["model"].path.write_bytes(b"no model")
    with pytest.raises(EngineError, match=f"{name} failed while loading: "):
        engine.load(artifact)


@pytest.mark.parametrize("name", TESTED)
def test_an_engine_that_only_converts_here_says_so(name: str, tmp_path: Path) -> None:
    engine = engine_or_skip(name)
    reason = engine.cannot_run()
    if reason is None:
        pytest.skip(f"{name} runs here")
    artifact = engine.compile(two_by_two(), plain(engine), tmp_path)
    with pytest.raises(EngineUnavailableError) as caught:
        engine.load(artifact)
    assert str(caught.value).startswith(
        f"Artifacts of {name} do not run on this machine: {reason}. "
    )


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ENGINES))
def test_unsupported_precisions_are_refused_in_words(name: str, tmp_path: Path) -> None:
    engine = engine_or_skip(name)
    for precision in (*PRECISIONS, "fp4"):
        reason = engine.refuses(Target(precision=precision))
        if precision not in engine.precisions:
            assert reason, precision
        if reason is None:
            continue
        assert len(reason) > 20
        with pytest.raises(EngineUnavailableError) as caught:
            engine.compile(two_by_two(), Target(precision=precision), tmp_path)
        assert str(caught.value).startswith(f"The engine {name} cannot be used here: {reason}.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES.get(name).devices])
def test_devices_it_does_not_have_are_refused(name: str) -> None:
    engine = engine_or_skip(name)
    reason = engine.refuses(replace(plain(engine), device="npu:3"))
    assert reason == f"{name} has no device 'npu:3' here; it has cpu alone"
    if engine.cannot_run() is None:
        artifact = Artifact(name, Signature((), ()), {})
        with pytest.raises(EngineUnavailableError, match=f"{name} has no device 'npu:3' here"):
            engine.load(artifact, device="npu:3")


@pytest.mark.parametrize("name", list(ENGINES))
def test_an_engine_that_is_missing_neither_compiles_nor_loads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_or_skip(name)
    artifact = engine.compile(two_by_two(), plain(engine), tmp_path)
    monkeypatch.setattr(engine, "available", lambda: "it went away")
    assert engine.refuses(plain(engine)) == "it went away"
    for use in (
        lambda: engine.compile(two_by_two(), plain(engine), tmp_path),
        lambda: engine.load(artifact),
    ):
        with pytest.raises(
            EngineUnavailableError, match=f"{name} cannot be used here: it went away"
        ):
            use()


@pytest.mark.parametrize(("name", "model"), REFUSED)
def test_what_an_engine_cannot_do_is_refused_in_words(
    name: str, model: str, tmp_path: Path
) -> None:
    engine = engine_or_skip(name)
    with pytest.raises(EngineError, match=REFUSED[name, model]):
        engine.compile(built(model, "fp32"), plain(engine), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TESTED)
def test_an_unknown_operator_is_told_in_the_words_of_the_engine(name: str, tmp_path: Path) -> None:
    engine = engine_or_skip(name)
    model = graph("y = NoSuchOperator(x)", "float[1] x", "float[1] y")
    with pytest.raises(EngineError) as caught, opened(engine, model, plain(engine)):
        pass
    assert f"{name} failed while " in str(caught.value)
    assert "NoSuchOperator" in str(caught.value)


@pytest.mark.parametrize("name", TESTED)
def test_a_compiler_leaves_the_model_as_it_was(name: str, tmp_path: Path) -> None:
    engine = engine_or_skip(name)
    model = convolutions()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    engine.compile(model, plain(engine), tmp_path)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", TESTED)
def test_artifacts_are_files_of_the_folder_and_plain_options(name: str, tmp_path: Path) -> None:
    engine = engine_or_skip(name)
    artifact = engine.compile(convolutions(), plain(engine), tmp_path)
    assert artifact.engine == name
    assert artifact.signature == signature_of(convolutions())
    assert {blob.path for blob in artifact.files.values()} == set(tmp_path.iterdir())
    assert json.loads(json.dumps(dict(artifact.options))) == dict(artifact.options)

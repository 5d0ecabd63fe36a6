"""ONNX Runtime: devices and their refusals, and what is kept for the next start."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes graphs as text, as another tool would
import onnx_ir as ir
import onnxruntime as ort
import pytest

from modelport.engines import ENGINES
from modelport.engines.onnxruntime import kept
from modelport.engines.onnxruntime import session as sessions
from modelport.engines.onnxruntime.providers import PROVIDERS, Device, Provider, read_device
from modelport.errors import EngineError, EngineUnavailableError
from modelport.graph.io import from_proto
from modelport.types import Artifact, Target

ENGINE = ENGINES.get("onnxruntime")


def network(seed: int = 0) -> ir.Model:
    """A convolution, and a Pad before a MaxPool, which ONNX Runtime folds wrongly where it may."""
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        main (float[1, 3, 8, 8] x) => (float[1, 4, 9, 9] y, float[1, 4, 8, 8] z) {
            pads = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> ()
            a = Conv <pads = [1, 1, 1, 1]> (x, w)
            z = Relu (a)
            n = Neg (z)
            p = Pad (n, pads)
            y = MaxPool <kernel_shape = [2, 2]> (p)
        }"""
    )
    weights = np.random.default_rng(seed).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return from_proto(proto)


X = {"x": np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELPORT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODELPORT_CACHE_BYTES", raising=False)
    return tmp_path / "home"


def compiled(folder: Path, seed: int = 0) -> Artifact:
    folder.mkdir()
    return ENGINE.compile(network(seed), Target(), folder)


def answers(artifact: Artifact, **options: Any) -> dict[str, Any]:
    with ENGINE.load(artifact, threads=1, **options) as session:
        return session.run(X)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def files_in(home: Path) -> list[Path]:
    return sorted(path for path in (home / "compiled").rglob("*") if path.is_file())


# --- what is kept -------------------------------------------------------------------------------


def test_the_second_start_optimises_nothing_and_answers_the_same(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = compiled(tmp_path / "made")
    monkeypatch.setenv("MODELPORT_CACHE_BYTES", "0")
    plain = answers(artifact)
    assert not home.exists()
    assert plain["y"].max() == 0, "the zeros of Pad are more than anything below them"
    monkeypatch.delenv("MODELPORT_CACHE_BYTES")
    first = answers(artifact)
    (file,) = files_in(home)
    levels = []
    started = sessions._started

    def spy(model: Any, options: ort.SessionOptions, *more: Any) -> ort.InferenceSession:
        levels.append((Path(model), options.graph_optimization_level))
        return started(model, options, *more)

    monkeypatch.setattr(sessions, "_started", spy)
    second = answers(artifact)
    assert levels == [(file, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)]
    assert same(plain, first)
    assert same(plain, second)


def test_what_is_kept_is_never_mistaken(tmp_path: Path, home: Path) -> None:
    """Neither for another model, nor for a file that was changed after it was compiled."""
    one, other = compiled(tmp_path / "one", 1), compiled(tmp_path / "other", 2)
    first, second = answers(one), answers(other)
    assert not same(first, second)
    one.files["model"].path.write_bytes(other.files["model"].path.read_bytes())
    assert same(answers(one), second)
    one.files["model"].path.write_bytes(b"no model")
    with pytest.raises(EngineError, match="onnxruntime failed while loading: "):
        answers(one)
    assert len(files_in(home)) == 3


def test_what_is_kept_may_be_damaged_or_impossible(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = compiled(tmp_path / "made")
    plain = answers(artifact)
    (file,) = files_in(home)
    file.write_bytes(b"half a file")
    assert same(plain, answers(artifact))
    assert files_in(home) == [file], "made again"
    assert file.stat().st_size > 100
    monkeypatch.setenv("MODELPORT_HOME", str(file))  # a file where the folder should be
    assert same(plain, answers(artifact))


def test_what_is_kept_has_a_limit(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(compiled(tmp_path / "one", 1))
    (first,) = files_in(home)
    monkeypatch.setenv("MODELPORT_CACHE_BYTES", str(first.stat().st_size + 10))
    answers(compiled(tmp_path / "other", 2))
    (second,) = files_in(home)
    assert second != first


def test_models_that_must_stay_as_they_are_are_not_kept(tmp_path: Path) -> None:
    artifact = compiled(tmp_path / "made")
    assert kept.kept_at(artifact) is not None
    beside = Artifact(
        "onnxruntime", artifact.signature,
        {**artifact.files, "weights": artifact.files["model"]}, artifact.options,
    )  # fmt: skip
    assert kept.kept_at(beside) is None


# --- devices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda:0", "this ONNX Runtime has no CUDAExecutionProvider, only "),
        ("tensorrt:1", "It comes with onnxruntime-gpu, with TensorRT beside it. Builds of ONNX"),
        ("tpu", "none that ONNX Runtime has a name for here. Expected one of cpu, cuda, tensorrt"),
        ("cuda:first", "The device 'cuda:first' is none"),
        ("coreml:0", "The device 'coreml:0' is none"),
    ],
)
def test_devices_that_are_not_here_are_refused_in_words(
    device: str, said: str, tmp_path: Path
) -> None:
    if read_problem(device) is None:
        pytest.skip(f"this ONNX Runtime has {device}")
    artifact = compiled(tmp_path / "made")
    with pytest.raises(EngineUnavailableError) as caught:
        answers(artifact, device=device)
    assert said in str(caught.value)
    reason = ENGINE.refuses(Target(device=device))
    assert reason is not None
    assert reason.startswith(f"The device {device!r} ")


def read_problem(device: str) -> str | None:
    try:
        read_device(device)
    except EngineUnavailableError as error:
        return str(error)
    return None


def test_devices_become_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [provider.name for provider in PROVIDERS.values()]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)
    cpu = ("CPUExecutionProvider", {})
    assert read_device("cpu").wanted() == [cpu]
    cuda = read_device("cuda:1")
    assert cuda.wanted() == [
        ("CUDAExecutionProvider", {"use_tf32": "0", "device_id": "1"}),
        cpu,
    ]
    assert (cuda.provider.memory, cuda.index) == ("cuda", 1)
    assert read_device("openvino:gpu.1").wanted()[0][1]["device_type"] == "GPU.1"
    assert read_device("qnn:htp").wanted()[0][1] == {"backend_type": "htp"}
    assert read_device("dml").wanted() == [("DmlExecutionProvider", {}), cpu]
    assert ENGINE.refuses(Target(device="cuda:1")) is None


def test_a_device_that_does_nothing_is_found_out() -> None:
    def of(available: list[str], used: list[str]) -> Any:
        parts = [SimpleNamespace(ep_name=name) for name in used]
        return SimpleNamespace(
            get_providers=lambda: available, get_provider_graph_assignment_info=lambda: parts
        )

    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assert sessions._left_to_the_cpu(of([cpu], [cpu]), cuda) == "could not be started"
    assert sessions._left_to_the_cpu(of([cuda, cpu], [cpu]), cuda) == "took none of the operators"
    assert sessions._left_to_the_cpu(of([cuda, cpu], [cpu, cuda]), cuda) is None
    assert sessions._left_to_the_cpu(of([cuda, cpu], []), cuda) is None


def test_outputs_bound_on_a_device_come_back(tmp_path: Path) -> None:
    """On the CPU, which any machine has, the way is the same."""
    artifact = compiled(tmp_path / "made")
    cpu = Device(Provider("CPUExecutionProvider", "", memory="cpu"))
    with ENGINE.load(artifact, threads=1) as session:
        right = session.run(X)
        got = sessions.run_bound(session._session, X, ["y", "z"], cpu)
        again = sessions.run_bound(session._session, X, ["y", "z"], cpu)
    assert list(got) == ["y", "z"]
    got["z"] += 1
    assert same(right, again)

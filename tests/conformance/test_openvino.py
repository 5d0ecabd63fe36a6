"""OpenVINO: runs that overlap, devices, what is kept for the next start, and operators of programs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes graphs as text, as another tool would
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from modelport.engines import ENGINES
from modelport.errors import EngineError, EngineUnavailableError
from modelport.graph.io import from_proto
from modelport.types import Artifact, Dim, Signature, Target, TensorSpec

ENGINE = ENGINES.get("openvino")

if reason := ENGINE.available():
    pytest.skip(reason, allow_module_level=True)


def network(seed: int = 0) -> ir.Model:
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        main (float[rows, 64] x) => (float[rows, 64] y, float[rows, 64] z) {
            z = MatMul (x, w)
            y = Relu (z)
        }"""
    )
    weights = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return from_proto(proto)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELPORT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODELPORT_CACHE_BYTES", raising=False)
    return tmp_path / "home"


def compiled(folder: Path, seed: int = 0) -> Artifact:
    folder.mkdir()
    return ENGINE.compile(network(seed), Target(), folder)


def feeds(seed: int, rows: int = 3) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((rows, 64)).astype(np.float32)}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


# --- runs that overlap --------------------------------------------------------------------------


@pytest.mark.parametrize("hint", ["LATENCY", "THROUGHPUT"])
def test_submitted_runs_keep_their_order_and_their_contents(hint: str, tmp_path: Path) -> None:
    artifact = compiled(tmp_path / "made")
    artifact.options["performance_hint"] = hint  # type: ignore[index]
    many = [feeds(seed, rows=seed % 3 + 1) for seed in range(8)]
    with ENGINE.load(artifact, threads=2) as session:
        right = [session.run(each) for each in many]
        for _ in range(5):
            promises = [session.submit(each) for each in many]
            got = [promise.result() for promise in promises]
            assert all(same(one, other) for one, other in zip(right, got, strict=True))
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(session.run, many))
        assert all(same(one, other) for one, other in zip(right, got, strict=True))
        wrong = session.submit({"x": np.zeros((2, 5), np.float32)})
        assert "has shape [2, 5]" in str(wrong.exception())
        late = session.submit(many[0])
    assert same(late.result(), right[0]), "closing waits for what was begun"
    with pytest.raises(EngineError, match="session is closed"):
        session.submit(many[0]).result()


# --- devices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu:7", "The device 'gpu:7' cannot be used: OpenVINO finds "),
        ("npu:3", "The device 'npu:3' cannot be used: OpenVINO finds "),
        ("tpu", "The device 'tpu' is none that OpenVINO has a name for here. Expected cpu, gpu"),
    ],
)
def test_devices_that_are_not_here_are_refused_in_words(
    device: str, said: str, tmp_path: Path
) -> None:
    artifact = compiled(tmp_path / "made")
    with pytest.raises(EngineUnavailableError) as caught:
        ENGINE.load(artifact, device=device)
    assert said in str(caught.value)
    reason = ENGINE.refuses(Target(device=device))
    assert reason is not None
    assert reason.startswith(f"The device {device!r} ")


def test_auto_takes_what_is_there(tmp_path: Path) -> None:
    artifact = compiled(tmp_path / "made")
    with ENGINE.load(artifact, threads=1) as one, ENGINE.load(artifact, device="auto") as other:
        right, got = one.run(feeds(1)), other.run(feeds(1))
    np.testing.assert_allclose(got["z"], right["z"], rtol=1e-5, atol=1e-5)
    assert ENGINE.refuses(Target(device="auto")) is None
    assert "cannot be promised" in str(ENGINE.refuses(Target("bf16", device="auto")))


def test_fp16_is_not_of_the_cpu() -> None:
    assert ENGINE.refuses(Target("fp16")) == "openvino has no fp16 on this processor family"
    assert "gpu:7" in str(ENGINE.refuses(Target("fp16", device="gpu:7")))


# --- what is kept -------------------------------------------------------------------------------


def test_the_second_start_takes_what_the_first_kept(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, other = compiled(tmp_path / "one", 1), compiled(tmp_path / "other", 2)
    monkeypatch.setenv("MODELPORT_CACHE_BYTES", "0")
    with ENGINE.load(artifact, threads=1) as session:
        plain = session.run(feeds(1))
    assert not home.exists()
    monkeypatch.delenv("MODELPORT_CACHE_BYTES")
    for _ in range(2):
        with ENGINE.load(artifact, threads=1) as session:
            assert same(session.run(feeds(1)), plain)
        (kept,) = [path for path in home.rglob("*") if path.is_file()]
    with ENGINE.load(other, threads=1) as session:  # the same but for its weights
        assert not same(session.run(feeds(1)), plain)
    kept.write_bytes(b"half a file")
    with ENGINE.load(artifact, threads=1) as session:
        assert same(session.run(feeds(1)), plain)
    monkeypatch.setenv("MODELPORT_HOME", str(kept))  # a file where the folder should be
    with ENGINE.load(artifact, threads=1) as session:
        assert same(session.run(feeds(1)), plain)


# --- programs -----------------------------------------------------------------------------------


class Returns(nn.Module):
    """Gives its input and a weight as they are, and whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))

    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        return x, self.weight, index + 1, x @ self.weight


def _thrice() -> Any:
    @torch.library.custom_op("modelport_tests::thrice", mutates_args=())
    def thrice(x: Tensor) -> Tensor:
        return x * 3

    thrice.register_fake(torch.empty_like)
    return thrice


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.thrice = _thrice()

    def forward(self, x: Tensor) -> Tensor:
        return self.thrice(x) + 1


ROWS = Dim(1, 9, "rows")


def write_program(module: nn.Module, path: Path, *examples: Tensor) -> Path:
    rows = torch.export.Dim("rows", min=1, max=9)
    sizes = tuple({0: rows} for _ in examples)
    program = torch.export.export(module.eval(), examples, dynamic_shapes=sizes, strict=False)
    torch.export.save(program, path)
    return path


def test_a_program_has_the_names_and_shapes_of_its_signature(tmp_path: Path) -> None:
    path = write_program(
        Returns(), tmp_path / "model.pt2", torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)
    )
    signature = Signature(
        (TensorSpec("left", "float32", (ROWS, 2)), TensorSpec("index", "int64", (ROWS,))),
        (
            TensorSpec("same", "float32", (ROWS, 2)),
            TensorSpec("weight", "float32", (2, 3)),
            TensorSpec("next", "int64", (ROWS,)),
            TensorSpec("product", "float32", (ROWS, 3)),
        ),
    )
    made = tmp_path / "made"
    made.mkdir()
    artifact = ENGINE.compile_program(path, signature, Target(), made)
    assert {entry.name for entry in made.iterdir()} == {"model.xml", "model.bin"}
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    with ENGINE.load(artifact, threads=1) as session:
        for rows in (1, 5):
            left = np.random.default_rng(rows).standard_normal((rows, 2)).astype(np.float32)
            index = np.arange(rows)
            got = session.run({"index": index, "left": left})
            right = (left, weight, index + 1, left @ weight)
            for (name, one), other in zip(got.items(), right, strict=True):
                assert one.dtype == other.dtype, name
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
            got["same"] += 1  # belongs to the caller, though it is an input
            np.testing.assert_array_equal(session.run({"index": index, "left": left})["same"], left)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = write_program(Foreign(), tmp_path / "model.pt2", torch.randn(4, 2))
    spec = TensorSpec("x", "float32", (ROWS, 2))
    signature = Signature((spec,), (spec,))
    made = tmp_path / "made"
    made.mkdir()
    with pytest.raises(EngineError, match=r"openvino failed while compiling: .*thrice"):
        ENGINE.compile_program(path, signature, Target(), made)

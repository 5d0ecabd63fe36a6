"""TorchScript and AOTInductor, beyond the networks of test_networks: they compile programs alone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modelport.engines import ENGINES
from modelport.engines.aotinductor import session as aotinductor_session
from modelport.engines.conversion import Conversion
from modelport.engines.routes import PROGRAM
from modelport.engines.torch_programs.programs import compute_in_bf16, read
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Artifact, Blob, Dim, Signature, Target, TensorSpec

pytestmark = pytest.mark.timeout(900)  # compiling C++ takes minutes on a busy machine

NAMES = ("torchscript", "aotinductor")
ROWS = Dim(2, 9, "rows")


class Pair(nn.Module):
    """Writes into an input, and gives a weight as it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 6))

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left[:, 0].add_(1)
        p, q = left @ self.weight, right @ self.weight
        return p + q, p - q, self.weight


PAIR = Signature(
    (TensorSpec("left", "float32", (ROWS, 8)), TensorSpec("right", "float32", (ROWS, 8))),
    (
        TensorSpec("total", "float32", (ROWS, 6)),
        TensorSpec("rest", "float32", (ROWS, 6)),
        TensorSpec("weight", "float32", (8, 6)),
    ),
)


def write_program(module: nn.Module, path: Path, *examples: Tensor) -> Path:
    rows = torch.export.Dim("rows", min=ROWS.minimum, max=ROWS.maximum)
    sizes = tuple({0: rows} for _ in examples)
    program = torch.export.export(module.eval(), examples, dynamic_shapes=sizes, strict=False)
    torch.export.save(program, path)
    return path


def feeds(rows: int, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {n: generator.standard_normal((rows, 8)).astype(np.float32) for n in ("left", "right")}


def want(fed: dict[str, Any]) -> list[Any]:
    with torch.no_grad():
        results = Pair()(*(torch.from_numpy(fed[name].copy()) for name in ("left", "right")))
    return [each.detach().numpy() for each in results]


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Made once for each engine: compiling C++ takes long."""
    engine = ENGINES.get(request.param)
    if reason := engine.refuses(Target()):
        pytest.skip(f"{request.param}: {reason}")
    folder = tmp_path_factory.mktemp(request.param)
    program = write_program(Pair(), folder / "model.pt2", torch.randn(3, 8), torch.randn(3, 8))
    made = folder / "artifact"
    made.mkdir()
    return engine.compile_program(program, PAIR, Target(), made)


def test_runs_as_pytorch_and_keeps_the_contract(pair: Artifact) -> None:
    with ENGINES.get(pair.engine).load(pair, threads=1) as session:
        for rows in (2, 5):
            fed = feeds(rows)
            before = {name: array.copy() for name, array in fed.items()}
            first = session.run(fed)
            for name, array in before.items():
                np.testing.assert_array_equal(fed[name], array)
                fed[name].setflags(write=False)
            assert list(first) == ["total", "rest", "weight"]
            for got, right in zip(first.values(), want(before), strict=True):
                np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5)
            held = {name: array.copy() for name, array in first.items()}
            first["weight"] += 100  # belongs to the caller, and so is no weight of the session's
            second = session.run(fed)
            for name, array in held.items():
                np.testing.assert_array_equal(second[name], array)


def test_threads_are_those_of_the_process_again(pair: Artifact) -> None:
    before = torch.get_num_threads()
    fed = feeds(4)
    with ENGINES.get(pair.engine).load(pair, threads=before + 1) as session:
        assert torch.get_num_threads() == before
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda _: session.run(fed)["total"], range(12)))
        assert torch.get_num_threads() == before
    assert all(np.array_equal(each, results[0]) for each in results)


def test_slices_damage_and_devices(pair: Artifact, tmp_path: Path) -> None:
    engine, path = ENGINES.get(pair.engine), tmp_path / "bundle.zip"
    data = pair.files["model"].path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("before.txt", b"something else")
        archive.writestr("model", data)
    place = path.read_bytes().index(data)
    packed = replace(pair, files={"model": Blob(path, place, len(data))})
    with engine.load(packed, threads=1) as session:
        np.testing.assert_allclose(session.run(feeds(3))["rest"], want(feeds(3))[1], atol=1e-5)
    damaged = tmp_path / "model"
    damaged.write_bytes(b"no model")
    with pytest.raises(EngineError, match=f"{pair.engine} failed while loading: "):
        engine.load(replace(pair, files={"model": Blob(damaged)}))
    with pytest.raises(
        EngineUnavailableError, match="has no device 'cuda:0' here; it has cpu alone"
    ):
        engine.load(pair, device="cuda:0")
    assert "cuda" in str(engine.refuses(Target(device="cuda")))


@pytest.mark.parametrize("name", NAMES)
def test_graphs_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="compiles PyTorch programs, and this model"):
        ENGINES.get(name).compile(None, Target(), tmp_path)  # type: ignore[arg-type]


# --- TorchScript --------------------------------------------------------------------------------


class Sizes(nn.Module):
    """Arithmetic of sizes, numbers beyond all others, and writing through a view."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        rows = x.shape[0]
        y = x * 2
        y[:, 0].add_(1)
        wide = x.reshape(rows, 8, 1).expand(rows, 8, rows // 2 + 1)
        masked = x.masked_fill(x > 0, float("-inf")).softmax(1)
        return y, wide.sum((1, 2)), torch.arange(rows) * 2, masked, torch.cat([x, x])[: rows + 1]


def converted(name: str, program: Path, signature: Signature, folder: Path) -> Artifact:
    folder.mkdir()
    made = ENGINES.get(name).convert(Conversion(program, signature, Target(), folder, PROGRAM))  # type: ignore[attr-defined]
    files = {role: Blob(folder / file) for role, file in made.files.items()}
    return Artifact(name, signature, files, made.options)


def test_scripts_keep_sizes_free_and_writing_in_place(tmp_path: Path) -> None:
    program = write_program(Sizes(), tmp_path / "model.pt2", torch.randn(4, 8))
    results = Sizes()(torch.randn(4, 8))
    outputs = tuple(
        TensorSpec(f"o{i}", str(each.dtype).removeprefix("torch."), (Dim(1, 20), *each.shape[1:]))
        for i, each in enumerate(results)
    )
    signature = Signature((TensorSpec("x", "float32", (ROWS, 8)),), outputs)
    artifact = converted("torchscript", program, signature, tmp_path / "made")
    with ENGINES.get("torchscript").load(artifact) as session:
        for rows in (2, 7):
            x = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
            got = session.run({"x": x})
            for one, right in zip(got.values(), Sizes()(torch.from_numpy(x)), strict=True):
                assert one.dtype == right.numpy().dtype
                np.testing.assert_allclose(one, right.numpy(), atol=1e-6)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)
        return x + self.count


def _twice() -> Callable[[Tensor], Tensor]:
    @torch.library.custom_op("modelport_tests::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)
    return twice


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.twice = _twice()

    def forward(self, x: Tensor) -> Tensor:
        return self.twice(x) + 1


X_TO_Y = Signature(
    (TensorSpec("x", "float32", (ROWS, 8)),), (TensorSpec("y", "float32", (ROWS, 8)),)
)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Branches, "TorchScript cannot take torch's cond"),
        (Counts, "The program changes its own count when it runs"),
    ],
)
def test_what_scripts_cannot_say_is_refused(
    module: type[nn.Module], said: str, tmp_path: Path
) -> None:
    program = write_program(module(), tmp_path / "model.pt2", torch.randn(4, 8))
    with pytest.raises(EngineError, match=said):
        converted("torchscript", program, X_TO_Y, tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


def test_operators_of_this_process_alone_are_named(tmp_path: Path) -> None:
    program = write_program(Foreign(), tmp_path / "model.pt2", torch.randn(4, 8))
    made = tmp_path / "made"
    made.mkdir()
    with pytest.raises(EngineError, match=r"modelport_tests\.twice\.default is not registered"):
        ENGINES.get("torchscript").compile_program(program, X_TO_Y, Target(), made)


# --- AOTInductor --------------------------------------------------------------------------------


def test_code_for_another_processor_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_bytes(b"code that would end the process")
    options = {"instructions": ["x86_64", "avx2", "avx512_f"]}
    artifact = Artifact("aotinductor", PAIR, {"model": Blob(tmp_path / "model")}, options)
    monkeypatch.setattr(aotinductor_session, "instructions", lambda: ("x86_64", "avx2"))
    with pytest.raises(EngineUnavailableError, match="compiled for a processor with avx512_f"):
        ENGINES.get("aotinductor").load(artifact)


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = ENGINES.get("aotinductor").refuses(Target())
    assert reason == (
        "it compiles C++, and there is no no-such-compiler on PATH; install one, or name it in CXX"
    )


# --- bfloat16, of which processors without it can at least see that it is right ------------------


def test_bfloat16_is_for_the_work_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(128, 5)
    )
    path = write_program(module, tmp_path / "model.pt2", torch.randn(3, 3, 8, 8))
    program = read(path)
    compute_in_bf16(program)
    casts = [n for n in program.graph.nodes if n.target is torch.ops.aten.to.dtype]
    work = {str(n.args[0].target) for n in casts if n.args[1] is torch.float32}
    assert work == {"aten.conv2d.default", "aten.linear.default"}
    assert len([n for n in casts if n.args[1] is torch.float32]) == 2, "the depthwise one stays"
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        right, got = module(x), program.module()(x)
    assert got.dtype == torch.float32
    assert 0 < float((right - got).abs().max()) < 0.05

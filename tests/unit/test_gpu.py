"""How GPUs are spelled, which sizes engines are built for, and sessions over a stand-in for the driver.

There is no GPU here: the stand-in keeps the contract of NVIDIA's driver, with this machine's memory.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.engines import ENGINES, gpu
from modelport.engines.gpu import GpuTarget, profiles
from modelport.errors import EngineError, EngineUnavailableError, UsageError
from modelport.types import Artifact, Blob, Dim, Signature, Target, TensorSpec


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cpu", GpuTarget()),
        ("gpu", GpuTarget(0)),
        ("cuda:2", GpuTarget(2)),
        ("sm86+sm89", GpuTarget(None, (86, 89))),
        ("CUDA:1, workspace=512", GpuTarget(1, (), 512)),
    ],
)
def test_devices_are_read(text: str, wanted: GpuTarget) -> None:
    assert GpuTarget.parse(text) == wanted


def test_other_devices_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'cuda:x' cannot be read.*sm86\+sm89"):
        GpuTarget.parse("cuda:x")


def test_profiles_are_the_bounds_and_their_geometric_middle() -> None:
    shape = (Dim(1, 16, "n"), 3, Dim(200, 640, step=32), 64)
    (found,) = profiles(Signature((TensorSpec("x", "float32", shape),), ()), "tensorrt")
    assert found.smallest == (1, 3, 224, 64)
    assert found.typical == (4, 3, 352, 64)
    assert found.largest == (16, 3, 640, 64)
    endless = Signature((TensorSpec("x", "float32", (Dim(),)),), ())
    with pytest.raises(EngineError, match="has one without an upper bound"):
        profiles(endless, "tensorrt")


def test_a_gpu_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ENGINES.get("tensorrt-rtx")
    monkeypatch.setattr("modelport.engines.tensorrt_rtx.driver", lambda: None)
    assert engine.cannot_run() == "this machine has no NVIDIA GPU with a driver"
    monkeypatch.setattr(type(engine), "available", lambda self: None)
    assert engine.refuses(Target(device="sm89")) is None
    assert "sm89 say" in str(engine.refuses(Target(device="cuda:0")))
    assert engine.refuses(Target("fp8", device="sm89+sm120")) is None
    told = engine.refuses(Target("fp8", device="sm86+sm89"))
    assert told == "fp8 needs a GPU from sm89 on, and 'sm86+sm89' was asked for"


# --- a session ----------------------------------------------------------------------------------


class Driver:
    """NVIDIA's driver on one GPU whose memory is this machine's, which counts what it hands out."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.queued: list[tuple[int, int, int]] = []
        self.retained = 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        self.retained += 1
        context._obj.value = 7
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        self.retained -= 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0 if context.value == 7 else 201

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 9
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        buffer = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(buffer)
        self.memory[address._obj.value] = buffer
        return 0

    def cuMemFree_v2(self, address: Any) -> int:
        return 0 if self.memory.pop(address.value, None) is not None else 1

    def cuMemcpyHtoD_v2(self, to: Any, source: Any, size: Any) -> int:
        ctypes.memmove(to, source, size.value)
        return 0

    def cuMemcpyDtoHAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:
        self.queued.append((to.value, source.value, size.value))
        return 0 if stream.value == 9 else 400

    def cuStreamSynchronize(self, stream: Any) -> int:
        for to, source, size in self.queued:
            ctypes.memmove(to, source, size)
        self.queued.clear()
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = f"error {status} of the stand-in".encode()
        return 0


class Context:
    """An execution context of an engine that gives `2 * x` and the sum of each row."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.places: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape if name == "double" else self.shape[:1]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.places[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if stream != 9:
            return False
        x = self._array("x", self.shape)
        self._array("double", self.shape)[...] = 2 * x
        self._array("sums", self.shape[:1])[...] = x.sum(1)
        return True

    def _array(self, name: str, shape: tuple[int, ...]) -> Any:
        count = int(np.prod(shape))
        place = (ctypes.c_float * count).from_address(self.places[name])
        return np.ctypeslib.as_array(place).reshape(shape)


class Runtime:
    def __init__(self, words: Any) -> None:
        self.words = words

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        if content != b"an engine":
            self.words.log(1, "the engine is\n damaged")
            return None
        return types.SimpleNamespace(create_execution_context=Context)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """The driver, and a module in the place of TensorRT's."""
    module = types.ModuleType("tensorrt_rtx_bindings")
    severity = types.SimpleNamespace(ERROR=1)
    logger = type("ILogger", (), {"Severity": severity, "__init__": lambda self: None})
    for name, value in (("ILogger", logger), ("Runtime", Runtime), ("__version__", "1.7")):
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = Driver()
    monkeypatch.setattr("modelport.engines.tensorrt_rtx.driver", lambda: made)
    monkeypatch.setattr(gpu, "driver", lambda: made)
    names = [f"modelport.engines.tensorrt_rtx.{name}" for name in ("memory", "words", "session")]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in names:
        importlib.import_module(name)
    yield made
    for name in names:
        sys.modules.pop(name, None)


def artifact(folder: Path, content: bytes = b"an engine", version: str = "1.7") -> Artifact:
    (folder / "model.engine").write_bytes(content)
    rows = Dim(1, 4, "n")
    signature = Signature(
        (TensorSpec("x", "float32", (rows, 3)),),
        (TensorSpec("double", "float32", (rows, 3)), TensorSpec("sums", "float32", (rows,))),
    )
    options = {"device": "cuda:0", "version": version}
    return Artifact("tensorrt-rtx", signature, {"model": Blob(folder / "model.engine")}, options)


def test_a_session_moves_arrays_to_the_gpu_and_back(driver: Driver, tmp_path: Path) -> None:
    engine = ENGINES.get("tensorrt-rtx")
    with engine.open_here(artifact(tmp_path), 0) as session:
        for rows in (1, 4, 2):
            x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
            outputs = session.submit({"x": x}).result()
            np.testing.assert_array_equal(outputs["double"], 2 * x)
            np.testing.assert_array_equal(outputs["sums"], x.sum(1))
        assert len(driver.memory) == 3
    assert driver.memory == {}
    assert driver.retained == 0


def test_what_does_not_load_leaves_nothing_on_the_gpu(driver: Driver, tmp_path: Path) -> None:
    engine = ENGINES.get("tensorrt-rtx")
    with pytest.raises(
        EngineError, match="tensorrt-rtx failed while loading: the engine is damaged"
    ):
        engine.open_here(artifact(tmp_path, b"no engine"), 0)
    with pytest.raises(EngineError, match=r"is of TensorRT-RTX 1\.5, and 1\.7 is installed"):
        engine.open_here(artifact(tmp_path, version="1.5"), 0)
    assert driver.retained == 0
    made = artifact(tmp_path)
    with pytest.raises(EngineUnavailableError, match=r"no device 'cuda:3'.*one of cuda:0"):
        engine.open_here(Artifact(made.engine, made.signature, made.files,
                                  {**made.options, "device": "cuda:3"}), 0)  # fmt: skip

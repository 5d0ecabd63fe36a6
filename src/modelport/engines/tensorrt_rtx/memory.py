"""Memory and a stream on one GPU, through NVIDIA's driver itself: no other package is needed for that."""

from __future__ import annotations

import ctypes
from typing import Any

from modelport.engines.gpu import GpuTarget, driver
from modelport.errors import EngineUnavailableError
from modelport.types import Array


class Gpu:
    """Buffers by name, which grow and are freed together, and the stream that work is queued on.

    Args:
        device: `cuda:0`, say.
    """

    def __init__(self, device: str) -> None:
        found = driver()
        if found is None:
            raise EngineUnavailableError("This machine has no NVIDIA GPU with a driver")
        self._driver: Any = found
        self._buffers: dict[str, tuple[ctypes.c_void_p, int]] = {}
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._device = self._device_of(device)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.enter()
        self._call("cuStreamCreate", ctypes.byref(self._stream), 0)

    @property
    def stream(self) -> int:
        return self._stream.value or 0

    def enter(self) -> None:
        """Makes this GPU the current one of the calling thread, which may be another each time."""
        self._call("cuCtxSetCurrent", self._context)

    def room(self, name: str, size: int) -> int:
        """The address of a buffer of at least that many bytes."""
        buffer, had = self._buffers.get(name, (None, 0))
        if buffer is not None and had >= size:
            return buffer.value or 0
        if buffer is not None:
            del self._buffers[name]
            self._call("cuMemFree_v2", buffer)
        made = ctypes.c_void_p()
        self._call("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(max(size, 1)))
        self._buffers[name] = (made, size)
        return made.value or 0

    def upload(self, name: str, array: Array) -> int:
        """Copies an array into the buffer of that name; the address. Done when it returns."""
        address = self.room(name, array.nbytes)
        self._call(
            "cuMemcpyHtoD_v2",
            ctypes.c_void_p(address),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
        )
        return address

    def download(self, name: str, array: Array) -> None:
        """Copies the buffer of that name into an array once all queued work is done; see `wait`."""
        buffer, _ = self._buffers[name]
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(array.ctypes.data),
            buffer,
            ctypes.c_size_t(array.nbytes),
            self._stream,
        )

    def wait(self) -> None:
        self._call("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        self.enter()
        for buffer, _ in self._buffers.values():
            self._call("cuMemFree_v2", buffer)
        self._buffers.clear()
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _device_of(self, device: str) -> ctypes.c_int:
        count, found = ctypes.c_int(0), ctypes.c_int(0)
        index = GpuTarget.parse(device).index or 0
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if index >= count.value:
            raise EngineUnavailableError(
                f"There is no device {device!r}",
                expected=f"one of {', '.join(f'cuda:{i}' for i in range(count.value))}",
            )
        self._call("cuDeviceGet", ctypes.byref(found), index)
        return found

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._driver.cuGetErrorString(status, ctypes.byref(text))
        told = (text.value or b"").decode() or f"error {status}"
        raise RuntimeError(f"{name} of NVIDIA's driver says: {told}")

"""Networks as OpenVINO compiles them, kept for the next start, which then takes half as long.

OpenVINO names them after the content of the model, the device and the settings. (It does so for models
that it has read; named by path, it tells two files apart by the second in which they were written.)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from modelport.engines.cache import own_folder, prune_own

if TYPE_CHECKING:
    import openvino as ov


def compiled(
    core: ov.Core, model: ov.Model, device: str, settings: Mapping[str, object]
) -> ov.CompiledModel:
    """The model for that device, from what was kept where there is such, and kept where there is not."""
    folder = own_folder("openvino")
    if folder is None:
        return core.compile_model(model, device, dict(settings))
    try:
        made = core.compile_model(model, device, {**settings, "CACHE_DIR": str(folder)})
    except RuntimeError:  # a full disk; or the model itself, which then says so again
        return core.compile_model(model, device, dict(settings))
    with suppress(OSError):
        prune_own("openvino")
    return made

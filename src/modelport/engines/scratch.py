"""Opens a model for a check that needs no bundle: in memory, or from a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.engines.base import Engine, Session
from modelport.types import Target

if TYPE_CHECKING:
    import onnx_ir as ir


@contextmanager
def opened(engine: Engine, model: ir.Model, target: Target) -> Iterator[Session]:
    direct = engine.open_in_memory(model, target)
    if direct is not None:
        with direct:
            yield direct
        return
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        artifact = engine.compile(model, target, Path(folder))
        with engine.load(artifact, threads=target.threads) as session:
            yield session

"""Compiles a model into a temporary folder and opens it, for checks that need no bundle."""

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
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        artifact = engine.compile(model, target, Path(folder))
        with engine.load(artifact, threads=target.threads) as session:
            yield session

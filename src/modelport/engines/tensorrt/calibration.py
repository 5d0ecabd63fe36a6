"""Writes the ranges of a float graph as TensorRT's calibrator keeps them: text, a scale for each tensor."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.quantize.ranges import largest_values
from modelport.types import Feeds

if TYPE_CHECKING:
    import onnx_ir as ir

HEADER = "TRT-101200-EntropyCalibration2"
"""Version and calibrator, as TensorRT 10.12 writes them."""

STEPS = 127


def write_cache(model: ir.Model, feeds: Sequence[Feeds], place: Path) -> None:
    """One line for each float tensor: its name, and its scale as the bits of a float32."""
    lines = [HEADER]
    for name, largest in largest_values(model, feeds).items():
        bits = struct.pack(">f", max(largest, 1e-9) / STEPS).hex()
        lines.append(f"{name}: {bits}")
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")

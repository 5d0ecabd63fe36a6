"""Compiles the program that torch.export captured into a package of native code and weights."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.torch_programs.processor import instructions
from modelport.engines.torch_programs.programs import changes_inputs, compute_in_bf16, read

MODEL = "model.pt2"

SETTINGS: dict[str, Any] = {
    # Whoever loads it says how many threads; else the number of this machine would be in the code.
    "cpp.dynamic_threads": True,
    # Headers compiled beforehand and processes kept for later would outlive this worker.
    "aot_inductor.precompile_headers": False,
    "compile_threads": 1,
    # Names of this machine's folders are nobody's business, and a fifth of the file.
    "aot_inductor.enable_line_tables": False,
    "aot_inductor.enable_frame_pointer": False,
}
"""Without `freezing`: on the MobileNetV3 and the ViT that were tried it made the code slower."""


def convert(job: Conversion) -> Converted:
    program = read(job.source)
    copies = changes_inputs(program)
    if job.target.precision == "bf16":
        compute_in_bf16(program)
    with tempfile.TemporaryDirectory(prefix="modelport-") as scratch, torch.no_grad():
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = scratch
        made = torch._inductor.aoti_compile_and_package(
            program, package_path=f"{scratch}/{MODEL}", inductor_configs=SETTINGS
        )
        _without_sources(Path(made), job.directory / MODEL)
    options = {"instructions": list(instructions()), "torch": torch.__version__}
    return Converted({"model": MODEL}, {**options, **({"changes_inputs": True} if copies else {})})


def _without_sources(package: Path, place: Path) -> None:
    """The C++ that was compiled names folders of this machine, and nothing reads it again."""
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(place, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".cpp"):
                new.writestr(entry, old.read(entry))

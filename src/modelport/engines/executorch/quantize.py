"""Quantizes a program the way PyTorch does for XNNPACK: observers, calibration, integers.

Integers throughout are fastest, and too coarse for some networks: layer normalization, or wide ranges
between convolutions of few channels. Where the calibration feeds show that, products alone take
integers, and each run finds the ranges of what goes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch.export import ExportedProgram
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from modelport.engines.conversion import Conversion
from modelport.engines.executorch.recapture import captured, opened

STATIC, DYNAMIC = "static", "dynamic"
ENOUGH_DB = 15.0
"""Signal to noise that integers throughout must keep; a sound network lies at 20 and more."""
COMPARED = 8
"""So many feeds tell whether they do."""

TINY = 1e-30

Tensors = tuple[torch.Tensor, ...]


def quantized(program: ExportedProgram, job: Conversion) -> tuple[ExportedProgram, str]:
    """The program with quantized operators, and how that was done."""
    names = [spec.name for spec in job.signature.inputs]
    feeds = [tuple(torch.from_numpy(each[n]) for n in names) for each in job.calibration()]
    module = opened(program)
    if feeds:
        static = _quantized(opened(program), feeds, STATIC)
        if _least_sqnr_db(module, static, feeds[:COMPARED]) >= ENOUGH_DB:
            return captured(static, program, job.signature), STATIC
    once = feeds[:1] or [tuple(program.example_inputs[0])]
    return captured(_quantized(module, once, DYNAMIC), program, job.signature), DYNAMIC


def _quantized(module: torch.nn.Module, feeds: Sequence[Tensors], way: str) -> torch.nn.Module:
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=way == DYNAMIC)
    prepared = prepare_pt2e(module, XNNPACKQuantizer().set_global(settings))
    with torch.no_grad():
        for feed in feeds:
            prepared(*feed)
        made: torch.nn.Module = convert_pt2e(prepared)
    return made


def _least_sqnr_db(one: torch.nn.Module, other: torch.nn.Module, feeds: Sequence[Tensors]) -> float:
    """Of the output that lost most."""
    signal: dict[int, float] = {}
    noise: dict[int, float] = {}
    for feed in feeds:
        for index, (want, got) in enumerate(zip(_run(one, feed), _run(other, feed), strict=True)):
            if want.is_floating_point():
                signal[index] = signal.get(index, 0.0) + float(want.double().square().sum())
                noise[index] = noise.get(index, 0.0) + float(
                    (want.double() - got.double()).square().sum()
                )
    ratios = [signal[index] / max(noise[index], TINY) for index in signal]
    return min((10 * math.log10(max(each, TINY)) for each in ratios), default=math.inf)


def _run(module: torch.nn.Module, feed: Tensors) -> Tensors:
    with torch.no_grad():
        results = module(*feed)
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)

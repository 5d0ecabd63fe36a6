"""Activations that an exporter lacks or gets wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from modelport.frontends.rewrites.base import TORCHSCRIPT, FunctionRewrite


class RandomLeak(FunctionRewrite):
    name = "rrelu"
    summary = "writes RReLU in inference mode as the LeakyReLU that it is"
    needed_by = "nn.RReLU"
    target = "torch.nn.functional.rrelu"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        lower: float = 1.0 / 8,
        upper: float = 1.0 / 3,
        training: bool = False,
        inplace: bool = False,
    ) -> Any:
        return NotImplemented if training else functional.leaky_relu(input, (lower + upper) / 2)


class Softplus(FunctionRewrite):
    name = "softplus_threshold"
    summary = "is linear above the threshold, which TorchScript's exporter forgets"
    needed_by = "nn.Softplus(beta=2, threshold=0.5)"
    target = "torch.nn.functional.softplus"
    exporters = (TORCHSCRIPT,)

    def replace(
        self,
        original: Callable[..., Any],
        /,
        input: torch.Tensor,
        beta: float = 1,
        threshold: float = 20,
    ) -> Any:
        if threshold >= 20:
            return NotImplemented
        scaled = input * beta
        return torch.where(scaled > threshold, input, original(scaled, 1, 20) / beta)

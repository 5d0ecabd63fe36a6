"""Takes repeated blocks out of a network, which cost time and hold nothing new for an exporter."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
from torch import nn

from zoo_models.liven import call

KEPT = 2
"""Blocks that stay of a row of equal ones."""


def shortened(module: nn.Module, feeds: Any) -> nn.Module:
    """A copy with at most `KEPT` equal blocks in a row, if it still runs; else the module itself.

    Equal blocks have the same class and weights of the same shapes. Networks that count their blocks
    elsewhere too stay whole.
    """
    short = copy.deepcopy(module)
    stages = [part for part in short.modules() if isinstance(part, (nn.Sequential, nn.ModuleList))]
    cut = [_cut(stage) for stage in stages]
    if not any(cut):
        return module
    with contextlib.suppress(Exception), torch.no_grad():
        call(short.eval(), feeds)
        return short
    return module


def _cut(stage: nn.Sequential | nn.ModuleList) -> bool:
    forms = [_form(block) for block in stage]
    kept = [
        block
        for index, block in enumerate(stage)
        if not forms[index][1] or [*forms[max(0, index - KEPT) : index]] != [forms[index]] * KEPT
    ]
    names = list(stage._modules)
    for name in names[len(kept) :]:
        del stage._modules[name]
    for name, block in zip(names, kept, strict=False):
        stage._modules[name] = block
    return len(kept) < len(names)


def _form(block: nn.Module) -> tuple[type, tuple[torch.Size, ...]]:
    return type(block), tuple(parameter.shape for parameter in block.parameters())

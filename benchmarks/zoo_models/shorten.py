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
    for rows_of in (_rows, _sequences):
        short = copy.deepcopy(module)
        cut = [_cut(row) for row in rows_of(short)]
        if not any(cut):
            continue
        with contextlib.suppress(Exception), torch.no_grad():
            call(short.eval(), feeds)
            return short
    return module


def _sequences(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if _is_sequence(part)]


def _rows(module: nn.Module) -> list[nn.Module]:
    """Sequences, and what may be one by another name: its children are all of one class.

    Most of those that are none, such as an attention with its projections, then no longer run.
    """
    return [part for part in module.modules() if _is_sequence(part) or _may_be_one(part)]


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList))


def _may_be_one(module: nn.Module) -> bool:
    classes = {type(child) for child in module._modules.values()}
    return len(module._modules) > KEPT and len(classes) == 1 and type(None) not in classes


def _cut(stage: nn.Module) -> bool:
    blocks = [block for block in stage._modules.values() if block is not None]
    forms = [_form(block) for block in blocks]
    kept = [
        block
        for index, block in enumerate(blocks)
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

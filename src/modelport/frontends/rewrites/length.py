"""Asking for the length of a tensor, which Python turns into a plain number.

torch.export then takes a free batch for that of the traced input, and refuses the model; a trace keeps
the number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import FunctionRewrite


class Length(FunctionRewrite):
    name = "len"
    summary = "keeps the length of a tensor free"
    needed_by = (
        "len(x) of a free size in forward: RT-DETR, D-FINE, DEIM, PP-DocLayout of transformers"
    )
    target = "builtins.len"

    def replace(self, original: Callable[..., Any], /, x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dim() == 0:
            return NotImplemented
        size = x.shape[0]
        return NotImplemented if type(size) is int else size

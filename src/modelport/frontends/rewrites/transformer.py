"""torch's transformer layers, whose forward has paths that depend on values or leave torch's operators.

- `_detect_is_causal_mask` compares the mask with a causal one and branches on the answer, which stops
  torch.export; the TorchScript-based exporter takes one branch for good. The mask is applied either way.
- In inference mode the layers call fused operators that no exporter translates; the TorchScript-based
  one meets them.
- An encoder that is given a padding mask, aligned to the left, computes on nested tensors and gives zeros
  (normalised ones, after a last norm) at the padded places. An export takes the other path, which gives
  values there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from modelport.frontends.rewrites.base import TORCHSCRIPT, FunctionRewrite


class DetectCausalMask(FunctionRewrite):
    name = "detect_causal_mask"
    summary = "takes a mask for causal only where the caller says so"
    needed_by = "nn.TransformerDecoder with generate_square_subsequent_mask"
    target = "torch.nn.modules.transformer._detect_is_causal_mask"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        mask: torch.Tensor | None,
        is_causal: bool | None = None,
        size: int | None = None,
    ) -> Any:
        return is_causal is True


class FastPath(FunctionRewrite):
    name = "attention_fast_path"
    summary = "keeps attention away from fused operators that have no translation"
    needed_by = "nn.TransformerEncoder, nn.MultiheadAttention"
    target = "torch.backends.mha.get_fastpath_enabled"
    exporters = (TORCHSCRIPT,)

    def replace(self, original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return False


class EncoderPadding(FunctionRewrite):
    name = "encoder_padding"
    summary = "gives zeros at padded places, as the encoder itself does in inference mode"
    needed_by = "nn.TransformerEncoder with src_key_padding_mask"
    target = "torch.nn.TransformerEncoder.forward"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        encoder: nn.TransformerEncoder,
        src: torch.Tensor,
        mask: torch.Tensor | None = None,
        src_key_padding_mask: torch.Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Any:
        padded = src_key_padding_mask
        rests = encoder.training or mask is not None or src.dim() != 3
        if padded is None or rests or not encoder.use_nested_tensor:
            return NotImplemented
        last, encoder.norm = encoder.norm, None
        try:
            output = original(encoder, src, mask, padded, is_causal)
        finally:
            encoder.norm = last
        if padded.dtype != torch.bool:
            padded = padded != 0
        # Not nested where a real element follows a padded one.
        aligned = (padded[:, 1:] | ~padded[:, :-1]).all()
        output = output.masked_fill((padded & aligned).unsqueeze(-1), 0.0)
        return output if last is None else last(output)

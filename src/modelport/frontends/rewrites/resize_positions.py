"""Tables of positions that are resized to another grid for each picture of a batch.

transformers does it in a loop over the batch, with sizes that are values in a tensor: torch.export takes
the batch for that of the traced input. Here each patch asks the table for its position instead, all at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modelport.frontends.rewrites.base import FunctionRewrite

_EMBEDDINGS = "transformers.models.siglip2.modeling_siglip2.Siglip2VisionEmbeddings"


class ResizePositions(FunctionRewrite):
    name = "resize_positions"
    summary = "resizes a table of positions for all pictures at once, by a matrix of weights"
    needed_by = "SigLIP 2 of transformers, where each picture has a grid of patches of its own"
    target = f"{_EMBEDDINGS}.resize_positional_embeddings"
    package = "transformers>=4.49"

    def replace(
        self,
        original: Callable[..., Any],
        /,
        positional_embeddings: torch.Tensor,
        spatial_shapes: torch.Tensor,
        max_length: int,
    ) -> torch.Tensor:
        table = positional_embeddings.to(torch.float32)
        height, width = spatial_shapes[:, :1], spatial_shapes[:, 1:]
        patch = torch.arange(max_length, device=table.device)
        # What pads the row of patches has the position of the first one.
        patch = torch.where(patch < height * width, patch, 0)
        rows = _shares(torch.div(patch, width, rounding_mode="floor"), height, table.shape[0])
        columns = _shares(patch % width, width, table.shape[1])
        shares = (rows[..., :, None] * columns[..., None, :]).flatten(2)
        return (shares @ table.flatten(0, 1)).to(positional_embeddings.dtype)


def _shares(index: torch.Tensor, new: torch.Tensor, old: int) -> torch.Tensor:
    """What each element of an axis adds to a place when it is resized, bilinear and antialiased.

    Args:
        index: of the place along the axis, for each picture and patch.
        new, old: sizes of the axis, after for each picture, and before.
    """
    step = old / new.to(torch.float32)
    middle = (index.to(torch.float32) + 0.5) * step - 0.5
    element = torch.arange(old, dtype=torch.float32, device=index.device)
    distance = (element - middle[..., None]).abs() / step.clamp(min=1)[..., None]
    shares = (1 - distance).clamp(min=0)
    return shares / shares.sum(-1, keepdim=True)

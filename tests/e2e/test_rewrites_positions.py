"""The built-in rewrite for the positions of SigLIP 2, with the module of transformers that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from modelport.codebases.torchvision_operators import import_torchvision
from modelport.frontends import rewrites

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch about itself

WIDTH, SIDE, MOST = 8, 4, 30
"""Of an embedding, of the table of positions, and of patches in a row."""


class GridsOfPatches(nn.Module):
    """Embeds rows of patches; `grids` says how high and wide the picture of each row is."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, x: torch.Tensor, grids: torch.Tensor) -> Any:
        return self.embeddings(x, grids)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    import_torchvision()  # transformers imports it
    pytest.importorskip("transformers")
    from transformers.models.siglip2 import modeling_siglip2 as siglip2

    torch.manual_seed(0)
    config = siglip2.Siglip2VisionConfig(
        hidden_size=WIDTH, patch_size=2, num_channels=3, num_patches=SIDE * SIDE
    )
    return GridsOfPatches(siglip2.Siglip2VisionEmbeddings(config)).eval()


def inputs(grids: list[tuple[int, int]], patches: int = MOST) -> tuple[torch.Tensor, ...]:
    return torch.randn(len(grids), patches, 12), torch.tensor(grids)


@contextmanager
def program(module: nn.Module, *, rewritten: bool) -> Iterator[torch.export.ExportedProgram]:
    batch, patches = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    sizes = ({0: batch, 1: patches}, {0: batch})
    traced = inputs([(4, 4), (3, 6)])
    with torch.no_grad(), rewrites.applied(module, exporter="torch.export") as changes:
        if rewritten:
            made = torch.export.export(changes.module, traced, dynamic_shapes=sizes)
            assert {each.rewrite for each in changes.fired} >= {"resize_positions"}
            yield changes.decompose(made)
    if not rewritten:
        yield torch.export.export(module, traced, dynamic_shapes=sizes)


GRIDS = ([(4, 4), (3, 6)], [(5, 6), (1, 30), (7, 2)], [(2, 3)])
"""The grid of the table, and wider and narrower ones, in batches of other sizes.

No grid is one patch wide: torch 2.13 then gives all its rows the position of the first one.
"""


@pytest.mark.parametrize("grids", GRIDS)
def test_positions_of_every_picture_are_those_of_its_grid(
    module: nn.Module, grids: list[tuple[int, int]]
) -> None:
    with program(module, rewritten=True) as made:
        written = torch.onnx.export(made, dynamo=True, optimize=False, verbose=False)
    assert written is not None
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString())
    x, sizes = inputs(grids)
    names = [entry.name for entry in session.get_inputs()]
    (found,) = session.run(None, {names[0]: x.numpy(), names[1]: sizes.numpy()})
    with torch.inference_mode():
        expected = module(x, sizes).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_needed(module: nn.Module) -> None:
    """A loop over the batch makes the batch a constant."""
    unchanged = program(module, rewritten=False)
    with pytest.raises(Exception, match=r"specialized|violated|data-dependent"), unchanged:
        pass

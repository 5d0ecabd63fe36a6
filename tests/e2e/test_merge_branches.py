"""Models of timm that are trained with branches: exported as they are, they run as one Conv a block."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import modelport
from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.graph.query import operator_counts
from modelport.types import Target

NODES = {"repvgg_a0": 47, "mobileone_s0": 89, "fastvit_t8": 86}
"""As many as are left of 125, 484 and 213."""

SIZE = 64


def trained(name: str) -> nn.Module:
    """A model whose statistics differ from channel to channel, as after training."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    from modelport.codebases.torchvision_operators import import_torchvision

    import_torchvision()
    import timm

    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=10).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
            nn.init.normal_(part.running_mean, std=0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return model


def ran(model: Any, feed: np.ndarray[Any, Any]) -> Any:
    with opened(ENGINES.get("onnxruntime"), model, Target()) as session:
        (name,) = (spec.name for spec in session.signature.inputs)
        (result,) = session.run({name: feed}).values()
    return result


@pytest.mark.parametrize("name", NODES)
def test_branches_of_timm(name: str) -> None:
    module = trained(name)
    example = torch.randn(1, 3, SIZE, SIZE)
    exported = modelport.export(module, (example,))
    records = {record.name: record for record in exported.passes}
    assert records["merge_branches"].changed
    assert not [record.name for record in exported.passes if record.rejected]
    counts = operator_counts(exported.model)
    assert "BatchNormalization" not in counts
    assert sum(counts.values()) <= NODES[name]

    with torch.no_grad():
        expected = module(example).numpy()
    found = ran(exported.model, example.numpy())
    assert np.ptp(expected) > 0.1, "the outputs must differ for a comparison to mean something"
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()

    merged = [node.metadata_props.get("modelport.merged", "") for node in exported.model.graph]
    assert any(paths.count(" ") for paths in merged), "the paths of the branches are noted"

"""The preflight says nothing about models that export well: real ones, of several libraries."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from modelport.codebases.torchvision_operators import import_torchvision
from modelport.frontends.preflight import examine

ENGINES = ["onnxruntime", "openvino"]


def silent(module: nn.Module, args: tuple[Any, ...], *other: tuple[Any, ...]) -> None:
    found = examine(module.eval(), args, {}, other=[(each, {}) for each in other], engines=ENGINES)
    assert found.findings == ()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 64), ("mobilenetv3_small_050", 64), ("vit_tiny_patch16_224", 224)],
)
def test_timm(name: str, size: int) -> None:
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    import_torchvision()
    timm = importlib.import_module("timm")
    torch.manual_seed(0)
    silent(
        timm.create_model(name), (torch.randn(1, 3, size, size),), (torch.randn(3, 3, size, size),)
    )


def test_transformer_encoder() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    silent(encoder, (torch.randn(2, 5, 16),), (torch.randn(3, 7, 16),))


@pytest.mark.filterwarnings("ignore")
def test_bert() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    example, longer = (
        (torch.randint(0, 50, size), torch.ones(size, dtype=torch.long))
        for size in ((2, 7), (3, 9))
    )
    silent(transformers.BertModel(config), example, longer)

"""The eight models of the benchmark, with random weights that let outputs move, and their feeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from zoo_models.liven import liven

from engine_runs.detectors import RtmDetLike, YoloV8Like
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.types import Array

FEEDS = 16
LENGTH = 128


@dataclass(frozen=True)
class Subject:
    """Attributes:
    build: makes the module.
    side: of the pictures it takes; 0 for text.
    """

    build: Callable[[], nn.Module]
    side: int = 224

    @property
    def inputs(self) -> list[str]:
        if self.side:
            return [f"x=1x3x{self.side}x{self.side}"]
        return [f"ids:int64=1x{LENGTH}", f"mask:int64=1x{LENGTH}"]

    def feeds(self, seed: int) -> dict[str, Array]:
        if self.side:
            return {"x": picture(self.side, seed)}
        generator = np.random.default_rng(seed)
        length = int(generator.integers(LENGTH // 4, LENGTH + 1))
        ids = generator.integers(1000, 30000, (1, LENGTH))
        mask = (np.arange(LENGTH) < length).astype(np.int64)[None]
        return {"ids": ids * mask, "mask": mask}

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        module = self.build().eval()
        feeds = [torch.from_numpy(array) for array in self.feeds(999).values()]
        return liven(module, tuple(feeds))


def picture(side: int, seed: int) -> Array:
    """Smooth, with some grain, in several contrasts: noise alone has no structure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 9, generator=generator) * (0.5 + seed % 3)
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (smooth + 0.1 * torch.rand(smooth.shape, generator=generator)).numpy()


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import_torchvision()
        import timm

        made: nn.Module = timm.create_model(name, pretrained=False)
        return made

    return build


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        self.net = SegformerForSemanticSegmentation(SegformerConfig(num_labels=150))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(pixel_values=x).logits


class Embedder(nn.Module):
    """MiniLM-L6 with the mean over its tokens, as sentence-transformers takes it."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        self.net = BertModel(config, add_pooling_layer=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.net(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)


SUBJECTS = {
    "resnet50": Subject(_timm("resnet50")),
    "mobilenetv3_large_100": Subject(_timm("mobilenetv3_large_100")),
    "vit_small_patch16_224": Subject(_timm("vit_small_patch16_224")),
    "convnext_tiny": Subject(_timm("convnext_tiny")),
    "yolov8n-like": Subject(YoloV8Like, 640),
    "rtmdet-tiny-like": Subject(RtmDetLike, 640),
    "segformer-b0": Subject(Segmenter, 512),
    "minilm-l6": Subject(Embedder, 0),
}

"""The models of the benchmark with their feeds: eight with random weights that let outputs move, and one
that was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from zoo_models.liven import liven

from engine_runs.detectors import RtmDetLike, YoloV8Like
from modelport import transforms
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import Array

FEEDS = 16
FITTED = 8
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
        # Statistics of one picture alone would magnify whatever sets another apart from it.
        seen = [self.feeds(900 + seed) for seed in range(FITTED)]
        batch = [np.concatenate([feeds[name] for feeds in seen]) for name in seen[0]]
        tensors = tuple(torch.from_numpy(array) for array in batch)
        normed = any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        return _fitted(_smoothed(module), *tensors) if normed else liven(module, tensors)


SMOOTH = 0.95
"""Share of what neighbouring pixels have in common in the kernels of convolutions. Rounding is white and
pictures are not: kernels of white noise pass the former and stop the latter, so that each layer of a network
magnifies what rounding did before it, by a decibel or more. Training leaves no such kernels."""


def _smoothed(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and min(part.kernel_size) > 1:
            weight = part.weight.data
            bumps = [torch.exp(-(torch.linspace(-1, 1, size) ** 2)) for size in part.kernel_size]
            bump = bumps[0][:, None] * bumps[1]
            shared = torch.randn(*weight.shape[:2], 1, 1) * bump / bump.square().mean().sqrt()
            part.weight.data = SMOOTH * shared * weight.std() + (1 - SMOOTH**2) ** 0.5 * weight
    return module


WEAK_BRANCH = 0.3
"""For the last normalisation of residual branches, which PyTorch starts at zero."""


def _fitted(module: nn.Module, *tensors: Tensor) -> nn.Module:
    """Gives every BatchNorm the statistics of its activations, as training would."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # a plain average
            if not part.weight.any():
                nn.init.constant_(part.weight, WEAK_BRANCH)
    with torch.no_grad():
        module.train()(*tensors)
    return module.eval()


def trained_mobilenet() -> nn.Module:
    """The demo's MobileNetV2, with the weights that it was trained to."""
    from harness import ROOT, demo_data

    from modelport.frontends.reference import call_reference

    source = call_reference(f"{ROOT / 'examples' / 'mobilenet_v2.py'}:build")
    weights = torch.load(demo_data() / "mobilenet_v2.pth", weights_only=True)
    source.model.load_state_dict(weights)
    made: nn.Module = source.model
    return made


class Photos(Subject):
    """A trained classifier, on photos as it was trained to see them."""

    def feeds(self, seed: int) -> dict[str, Array]:
        from harness import photos

        pipeline = PicturePreprocessor(transforms.imagenet())
        files = photos()
        return {"x": pipeline(files[seed % len(files)])}

    def module(self) -> nn.Module:
        return self.build().eval()


def picture(side: int, seed: int) -> Array:
    """As normalised photos are: around zero, with structure of several sizes, in several contrasts."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.zeros(1, 3, side, side)
    for cells, strength in ((4, 0.8), (12, 0.5), (48, 0.3), (side, 0.1)):
        coarse = torch.randn(1, 3, cells, cells, generator=generator) * strength
        made += nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (made * (0.8 + 0.2 * (seed % 3))).numpy()


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
        import_torchvision()  # transformers imports it too
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        self.net = SegformerForSemanticSegmentation(SegformerConfig(num_labels=150))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(pixel_values=x).logits


class Embedder(nn.Module):
    """MiniLM-L6 with the mean over its tokens, as sentence-transformers takes it."""

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()
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
    "mobilenet_v2, trained": Photos(trained_mobilenet),
    "resnet50": Subject(_timm("resnet50")),
    "mobilenetv3_large_100": Subject(_timm("mobilenetv3_large_100")),
    "vit_small_patch16_224": Subject(_timm("vit_small_patch16_224")),
    "convnext_tiny": Subject(_timm("convnext_tiny")),
    "yolov8n-like": Subject(YoloV8Like, 640),
    "rtmdet-tiny-like": Subject(RtmDetLike, 640),
    "segformer-b0": Subject(Segmenter, 512),
    "minilm-l6": Subject(Embedder, 0),
}

"""The models that optimisers are compared on, exported as plainly as PyTorch can."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

NETWORKS: dict[str, int] = {
    "timm/resnet18": 224,
    "timm/resnet50": 224,
    "timm/mobilenetv2_100": 224,
    "timm/mobilenetv3_large_100": 224,
    "timm/efficientnet_b0": 224,
    "timm/efficientnet_lite0": 224,
    "timm/regnety_004": 224,
    "timm/densenet121": 224,
    "timm/ghostnet_100": 224,
    "timm/cspresnet50": 256,
    "timm/hrnet_w18_small": 224,
    "timm/inception_v3": 299,
    "timm/convnext_atto": 224,
    "timm/poolformer_s12": 224,
    "timm/mobilevit_xs": 256,
    "timm/edgenext_xx_small": 256,
    "timm/vit_tiny_patch16_224": 224,
    "timm/vit_small_patch16_224": 224,
    "timm/swin_tiny_patch4_window7_224": 224,
    "timm/mixer_s32_224": 224,
    "timm/repvgg_a0": 224,
    "timm/mobileone_s0": 224,
    "torchvision/shufflenet_v2_x1_0": 224,
    "torchvision/squeezenet1_1": 224,
    "torchvision/deeplabv3_mobilenet_v3_large": 256,
}
"""Networks with the side of their pictures."""

EXPORTERS = ("torch.export", "torchscript")


def names() -> list[str]:
    return [f"{network} {exporter}" for network in NETWORKS for exporter in EXPORTERS]


def exported(name: str, folder: Path) -> Path:
    """The file of a subject, made where it is not there yet; the child that makes it ends with it."""
    path = folder / (name.replace("/", "_").replace(" ", "_") + ".onnx")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _export(name, path)
    return path


def _export(name: str, path: Path) -> None:
    import torch

    network, exporter = name.split()
    side = NETWORKS[network]
    module = _module(network, side)
    x = torch.rand(1, 3, side, side)
    unfinished = path.with_suffix(".part")
    with _quiet(), torch.no_grad():
        if exporter == "torch.export":
            torch.onnx.export(
                module, (x,), str(unfinished), dynamo=True, optimize=False, external_data=False,
                verbose=False, input_names=["x"], output_names=["y"],
            )  # fmt: skip
        else:
            torch.onnx.export(
                module, (x,), str(unfinished), dynamo=False, opset_version=17,
                do_constant_folding=False, input_names=["x"], output_names=["y"],
            )  # fmt: skip
    os.replace(unfinished, path)


def _module(network: str, side: int) -> Any:
    import torch
    from zoo_models.liven import liven
    from zoo_models.torchvision_shim import prepare

    prepare()
    torch.manual_seed(0)
    library, name = network.split("/")
    module = _timm(name) if library == "timm" else _torchvision(name)
    generator = torch.Generator().manual_seed(1)
    return liven(module.eval(), (torch.rand(2, 3, side, side, generator=generator),))


def _timm(name: str) -> Any:
    import timm

    return timm.create_model(name)


def _torchvision(name: str) -> Any:
    import torchvision
    from torch import nn

    models = torchvision.models
    if hasattr(models, name):
        return getattr(models, name)(weights=None)

    class Segmenter(nn.Module):
        """Segmenters return a dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.net = getattr(models.segmentation, name)(weights=None, weights_backbone=None)

        def forward(self, x: Any) -> Any:
            return self.net(x)["out"]

    return Segmenter()


@contextlib.contextmanager
def _quiet() -> Any:
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield

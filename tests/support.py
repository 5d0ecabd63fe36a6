"""Small models, their data, and the command line, for tests of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import modelport
from modelport import transforms
from modelport.runtime.transforms.picture import PicturePreprocessor

ROOT = Path(__file__).parents[1]
CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")

TRANSFORMS = [
    transforms.Decode(),
    transforms.Resize((32, 32)),
    transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    transforms.Layout(order="nchw"),
]


class SmallNet(nn.Module):
    """Three convolutions, one of them depthwise, each with a BatchNorm; and a classifier."""

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.pointwise = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.pointwise(self.depthwise(self.stem(x)))
        return self.head(features.mean((2, 3)))


def enliven(module: nn.Module, like: Tensor, seed: int = 0) -> nn.Module:
    """Seeds the weights of a module so that its outputs move with its input, and switches to eval.

    Fresh weights shrink a signal to nothing and leave every output at its bias. Here weights keep the
    variance, BatchNorms have the statistics of real activations, and each bias is small.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, generator=generator)
            if part.bias is not None:
                nn.init.normal_(part.bias, std=0.1, generator=generator)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.7, 1.3, generator=generator)
            nn.init.normal_(part.bias, std=0.3, generator=generator)
            part.momentum = None  # a plain average over what follows
    module.train()
    with torch.no_grad():
        module(torch.randn(like.shape, generator=generator))
    return module.eval()


def small_net(seed: int = 0) -> nn.Module:
    """A small net that tells generated pictures apart, as a trained one would."""
    net = SmallNet()
    enliven(net, torch.empty(16, 3, 32, 32), seed)
    prepare = PicturePreprocessor(TRANSFORMS)
    batch = torch.cat([torch.from_numpy(prepare(picture(1000 + n))) for n in range(32)])
    with torch.no_grad():
        logits = net(batch)
        gain = 3 / logits.std(0)
        net.head.weight.mul_(gain[:, None])
        net.head.bias.sub_(logits.mean(0)).mul_(gain)
    return net


def small_source(**changes: Any) -> modelport.Source:
    settings: dict[str, Any] = {
        "model": small_net(),
        "inputs": "image=1x3x32x32",
        "output_names": ["logits"],
        "transforms": TRANSFORMS,
        "task": "classification",
        "labels": CLASSES,
        "licence": "Apache-2.0",
        "name": "small",
    }
    return modelport.Source(**{**settings, **changes})


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A smooth gradient of random colours with some grain: neighbours are alike, as in photos."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    grain = generator.integers(-12, 13, smooth.shape)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def write_pictures(folder: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        picture(seed).save(folder / f"picture_{seed:02d}.png")
    return folder


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def command(
    *arguments: str | Path,
    block: Sequence[str] = (),
    folder: Path | None = None,
    **environment: str,
) -> Ran:
    """Runs the real command line in a process of its own.

    Args:
        block: modules that cannot be imported there, as on a machine that lacks them.
        folder: where the file that blocks them may be written.
    """
    variables = {**os.environ, **environment, "NO_COLOR": "1", "COLUMNS": "200"}
    if block:
        assert folder is not None
        variables["PYTHONPATH"] = str(write_blocker(folder, block))
    done = subprocess.run(
        [sys.executable, "-m", "modelport.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
        env=variables,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def write_blocker(folder: Path, modules: Sequence[str]) -> Path:
    """A folder for PYTHONPATH that makes Python believe the modules are not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"import sys\nsys.modules.update(dict.fromkeys({list(modules)!r}))\n"
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return folder


def entries(folder: Path) -> Iterator[str]:
    """Everything below a folder, hidden or not."""
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")))


def shared_model(name: str) -> Path:
    """A model file that lies beside the checkout; skips where it does not."""
    folders = [place / "shared" / "data" / "models" for place in (ROOT, ROOT.parent)]
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        pytest.skip(f"there is no {name} in {' or '.join(map(str, folders))}")
    return found

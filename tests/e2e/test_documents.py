"""Runs what the documents show: every block of Python, and every command.

In a document, a block of Python whose first line is `# name.py` is that file. `bash` blocks are
commands that succeed. In `console` blocks the lines after a command are what it prints, `...` standing
for anything; a command that prints an error, or a verdict that is one,
leaves with status 2. Each document runs in a folder of its
own with a small trained model, its pictures, and what the comment `<!-- given: ... -->` names.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

import modelport
from documents import Block, blocks, given
from modelport.frontends.reference import call_reference
from modelport.runtime.transforms.picture import PicturePreprocessor
from support import ROOT

README = ROOT / "README.md"
RUN = [
    README,
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "reference.md"),
]

FRUIT = {"cherry": (190, 25, 40), "lemon": (235, 215, 60), "plum": (95, 45, 120)}


def fruit_picture(fruit: str, seed: int) -> Image.Image:
    """A disc in the colour of the fruit, before something blurred."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(60, 200, (6, 8, 3), dtype=np.uint8))
    image = coarse.resize((120, 90), Image.Resampling.BICUBIC)
    radius, x, y = (int(generator.integers(*ends)) for ends in ((20, 34), (40, 80), (35, 55)))
    colour = np.clip(FRUIT[fruit] + generator.integers(-20, 21, 3), 0, 255)
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, fill=tuple(int(value) for value in colour))
    return image.filter(ImageFilter.GaussianBlur(1))


def write_fruit(folder: Path, each: int, seed: int) -> None:
    folder.mkdir()
    for number in range(each):
        for index, fruit in enumerate(FRUIT):
            picture = fruit_picture(fruit, seed + 10 * number + index)
            picture.save(folder / f"{fruit}_{number:02d}.jpg", quality=90)


def train(source: modelport.Source) -> nn.Module:
    """The README's net, taught to tell the fruit apart."""
    names, pipeline = list(FRUIT), PicturePreprocessor(source.transforms)
    pictures = [pipeline(fruit_picture(names[n % 3], 9000 + n)) for n in range(96)]
    images = torch.from_numpy(np.concatenate(pictures))
    truth = torch.arange(96) % 3
    net: nn.Module = source.model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in net.modules():
            if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
                layer.reset_parameters()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(images), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    assert (net(images).argmax(1) == truth).float().mean() > 0.95
    return net


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has who followed the README: model.py, weights, pictures, bundle, ONNX file."""
    folder = tmp_path_factory.mktemp("world")
    (model_file,) = (block for block in blocks(README) if block.file == "model.py")
    (folder / "model.py").write_text(model_file.code, encoding="utf-8")
    (folder / "labels.txt").write_text("\n".join(FRUIT) + "\n", encoding="utf-8")
    write_fruit(folder / "photos", each=12, seed=0)
    write_fruit(folder / "held_out", each=8, seed=1000)
    fruit_picture("lemon", 5000).save(folder / "photo.jpg", quality=90)
    source = call_reference(f"{folder / 'model.py'}:build")
    net = train(source)
    torch.save(net.state_dict(), folder / "weights.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 3, 64, 64),), folder / "model.onnx", dynamo=True, verbose=False,
            input_names=["image"], output_names=["logits"], optimize=False, external_data=False,
        )  # fmt: skip
    modelport.deploy(
        source,
        output=folder / "build" / "fruit",
        calibration=folder / "photos",
        verification=folder / "held_out",
    )
    return folder


@pytest.fixture
def place(
    request: pytest.FixtureRequest, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the world for one document, as the working folder."""
    folder = tmp_path / "here"
    unasked = {"build", "model.onnx"} - {name.split("/")[0] for name in given(request.param)}
    shutil.copytree(world, folder, ignore=lambda where, _: unasked if where == str(world) else ())
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(folder):
            del sys.modules[name]


@pytest.mark.parametrize(
    "place", RUN, indirect=True, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_blocks_run(place: Path, request: pytest.FixtureRequest) -> None:
    document: Path = request.node.callspec.params["place"]
    namespace: dict[str, object] = {"__name__": "document"}
    for block in blocks(document):
        where = f"{document.relative_to(ROOT)}:{block.line}"
        if block.skip:
            continue
        if block.file:
            (place / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            run_python(block, where, namespace)
        elif block.language == "bash":
            status, printed = shell(block.code)
            assert status == 0, f"{where}: {printed}"
        elif block.language == "console":
            run_console(block, where)


def run_python(block: Block, where: str, namespace: dict[str, object]) -> None:
    """Runs the block; after `# prints` stands a line of what it prints."""
    printed = io.StringIO()
    # Line numbers in a traceback are then those of the document.
    padded = "\n" * block.line + block.code
    with contextlib.redirect_stdout(printed):
        exec(compile(padded, where, "exec", dont_inherit=True), namespace)
    lines = iter(printed.getvalue().splitlines())
    for promised in re.findall(r"# prints (.+)$", block.code, flags=re.MULTILINE):
        assert promised in lines, f"{where} promises {promised!r}, printed {printed.getvalue()!r}"


def run_console(block: Block, where: str) -> None:
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, _, promised = part.partition("\n")
        status, printed = shell(command)
        fails = any(words in promised for words in ("Error:", "Not ready to export"))
        assert status == (2 if fails else 0), f"{where}: {printed}"
        assert_printed(promised, printed, where)


def assert_printed(promised: str, printed: str, where: str) -> None:
    """Compares words, not spaces; `...` stands for anything."""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in promised.split("..."))
    assert re.fullmatch(pattern, " ".join(printed.split())), (
        f"{where} shows\n{promised}\nand the command prints\n{printed}"
    )


def shell(command: str) -> tuple[int, str]:
    """Status and output of a command, `modelport` being the one installed here."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200"},
    )
    return done.returncode, done.stdout

"""Models that do not accept random inputs, proved with a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.errors import DataError, ExportError, ModelportError, UsageError
from support import command

SPECS = ["tokens:int64=n[1..4]x6", "boxes:int64=n[1..4]x6x4"]


class Layout(nn.Module):
    """Looks the width of each box up, as LayoutLM does: boxes must end right of where they begin."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word, self.width = nn.Embedding(50, 8), nn.Embedding(100, 8)

    def forward(self, tokens: Tensor, boxes: Tensor) -> Tensor:
        return self.word(tokens) * self.width(boxes[..., 2] - boxes[..., 0])


def example(batch: int, seed: int) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    boxes = np.sort(numbers.integers(0, 100, (batch, 6, 4)), axis=-1)
    return {"boxes": boxes, "tokens": numbers.integers(0, 50, (batch, 6))}


def demand_equal(path: Path, feeds: dict[str, np.ndarray]) -> None:
    want = Layout().eval()(torch.from_numpy(feeds["tokens"]), torch.from_numpy(feeds["boxes"]))
    got = ort.InferenceSession(str(path)).run(None, feeds)[0]
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-6)


def test_random_boxes_are_refused_with_advice() -> None:
    with pytest.raises(ExportError, match="index out of range") as raised:
        modelport.export(Layout(), SPECS)
    assert "--examples" in str(raised.value.hint)


def test_examples_take_their_place(tmp_path: Path) -> None:
    path = tmp_path / "layout.onnx"
    modelport.export(Layout(), SPECS, examples=[example(2, 0), example(3, 1)], output=path)
    for batch in (1, 2, 4):
        demand_equal(path, example(batch, seed=7 + batch))


def test_files_of_examples(tmp_path: Path) -> None:
    source, folder = tmp_path / "layout.py", tmp_path / "examples"
    text = Path(__file__).read_text(encoding="utf-8")
    model = text[text.index("class Layout") : text.index("def example(")]
    source.write_text(f"import torch\nfrom torch import Tensor, nn\n\n{model}\nbuild = Layout\n")
    folder.mkdir()
    for seed, batch in enumerate((2, 3)):
        np.savez(folder / f"{seed}.npz", **example(batch, seed))
    inputs = [f"--input={spec}" for spec in SPECS]
    path = tmp_path / "layout.onnx"
    done = command("export", f"{source}:build", *inputs, "--examples", folder, "--output", path)
    assert done.status == 0, done.stderr
    demand_equal(path, example(4, seed=9))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"boxes": None}, r"Example 2 of 2 does not fit the inputs: .*\['tokens'\]"),
        ({"tokens": np.zeros((9, 6), np.int64)}, r"Example 2 .* has shape \[9, 6\]"),
        ({"tokens": np.zeros((3, 6), np.float32)}, "Example 2 .* has element type float32"),
    ],
)
def test_an_example_that_does_not_fit(change: dict[str, np.ndarray | None], seen: str) -> None:
    wrong = {name: a for name, a in {**example(3, 1), **change}.items() if a is not None}
    with pytest.raises(UsageError, match=seen):
        modelport.export(Layout(), SPECS, examples=[example(2, 0), wrong])


def test_one_of_them_must_be_fit_to_trace() -> None:
    with pytest.raises(UsageError, match="free size of 0 or 1"):
        modelport.export(Layout(), SPECS, examples=[example(1, 0), example(1, 1)])


def test_one_example_proves_nothing() -> None:
    with pytest.raises(UsageError, match="One example was given"):
        modelport.export(Layout(), SPECS, examples=example(2, 0))


def test_what_is_no_example() -> None:
    with pytest.raises(UsageError, match="An example is a int"):
        modelport.export(Layout(), SPECS, examples=[3])
    with pytest.raises(DataError, match="There is no file or folder"):
        modelport.export(Layout(), SPECS, examples="nowhere.npz")


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt().cumsum(-1)


def test_numbers_drawn_like_an_example_that_has_no_negative_ones() -> None:
    exported = modelport.export(Root(), torch.rand(3, 4, generator=torch.manual_seed(0)) + 0.5)
    assert not [note for note in exported.notes if "NaN" in note]
    with pytest.raises(ModelportError, match="NaN"):
        modelport.export(Root(), "x=3x4")

"""Edits of a deployment: the graph takes or gives something else, and the answers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport import transforms
from modelport.bundle.read import Bundle
from modelport.deployment import edited as editing
from modelport.deployment.edits import EDITS, Edited
from modelport.errors import UnknownNameError, UsageError, VerificationError
from modelport.graph.query import signature_of
from modelport.types import Dim
from support import TRANSFORMS, picture, small_net, small_source

FAST: dict[str, Any] = {"engines": ["onnxruntime"], "precisions": ["fp32"], "report": False}


class WithSoftmax(nn.Module):
    def __init__(self, logarithm: bool = False) -> None:
        super().__init__()
        self.net = small_net()
        self.last = nn.LogSoftmax(1) if logarithm else nn.Softmax(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.net(image))


def deployed(folder: Path, source: modelport.Source, *edits: str) -> Bundle:
    return modelport.deploy(source, output=folder / "_".join(["b", *edits]), edits=edits, **FAST)


def answers(bundle: Bundle) -> list[Any]:
    with modelport.load(bundle.path, threads=1) as predictor:
        return [predictor(picture(seed)) for seed in range(4)]


def assert_same_answers(one: Bundle, other: Bundle) -> None:
    before, after = answers(one), answers(other)
    assert len({answer.label for answer in before}) > 1, "answers that never change prove nothing"
    for mine, theirs in zip(before, after, strict=True):
        assert [c.label for c in mine.classes] == [c.label for c in theirs.classes]
        assert [c.score for c in mine.classes] == pytest.approx(
            [c.score for c in theirs.classes], rel=1e-3
        )


@pytest.mark.parametrize("order", ["nchw", "nhwc"])
def test_pixels_in(order: Any, tmp_path: Path) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, image: Tensor) -> Tensor:
            return self.net(image.permute(0, 3, 1, 2))

    steps = [*TRANSFORMS[:-1], transforms.Layout(order=order)]
    turned = {"model": Turned(), "inputs": "image=1x32x32x3"} if order == "nhwc" else {}
    source = small_source(transforms=steps, **turned)
    plain, made = deployed(tmp_path, source), deployed(tmp_path, source, "pixels_in")
    (spec,) = made.signature.inputs
    assert (spec.name, spec.dtype, spec.shape) == ("image", "uint8", (1, 32, 32, 3))
    kinds = [entry["kind"] for entry in made.manifest.transforms]
    assert kinds == ["decode", "resize", "layout"]
    assert_same_answers(plain, made)
    assert modelport.verify(made.path).passed
    assert any("uint8 pixels" in note for note in made.manifest.provenance.notes)


def test_pixels_in_keeps_free_sizes(tmp_path: Path) -> None:
    source = small_source(inputs="image=n[1..8]x3x32x32")
    (spec,) = deployed(tmp_path, source, "pixels_in").signature.inputs
    assert spec.shape == (Dim(1, 8, "n"), 32, 32, 3)


@pytest.mark.parametrize("logarithm", [False, True])
def test_strip_activation(logarithm: bool, tmp_path: Path) -> None:
    parameters = {} if logarithm else {"scores": "probabilities"}
    source = small_source(model=WithSoftmax(logarithm), parameters=parameters)
    plain, made = deployed(tmp_path, source), deployed(tmp_path, source, "strip_activation")
    assert made.manifest.task.parameters["scores"] == "logits"
    assert_same_answers(plain, made)
    feeds = {"image": np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)}
    with modelport.load(plain.path) as one, modelport.load(made.path) as other:
        before, after = one.session.run(feeds)["logits"], other.session.run(feeds)["logits"]
    assert np.abs(before - after).max() > 0.1
    assert np.ptp(after) > np.ptp(before) or logarithm


def test_two_edits(tmp_path: Path) -> None:
    source = small_source(model=WithSoftmax(), parameters={"scores": "probabilities"})
    made = deployed(tmp_path, source, "strip_activation", "pixels_in")
    assert made.signature.inputs[0].dtype == "uint8"
    assert_same_answers(deployed(tmp_path, source), made)


@pytest.mark.parametrize(
    ("edit", "changes", "reason"),
    [
        ("pixels_in", {"transforms": TRANSFORMS[:2]}, "the transforms have no normalize"),
        ("strip_activation", {}, "the output 'logits' does not come from a Softmax"),
        ("strip_activation", {"task": "tensors"}, "the task tensors gives scores as they are"),
        (
            "strip_activation",
            {"model": WithSoftmax()},
            "the task takes the result of the Softmax for logits: set scores=probabilities",
        ),
    ],
)
def test_an_edit_that_cannot_be_done(
    edit: str, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"The edit {edit} cannot be done: {reason}"):
        deployed(tmp_path, small_source(**changes), edit)
    assert list(tmp_path.iterdir()) == []


def test_an_edit_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Perhaps you meant 'pixels_in'"):
        deployed(tmp_path, small_source(), "pixel_in")


def test_an_edit_that_changes_the_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that forgets the means, say."""
    edit = EDITS.get("pixels_in")
    honest = edit.apply

    def forgetful(draft: Any) -> Edited:
        made = honest(draft)
        shift = made.draft.model.graph.initializers["image.shift"]
        assert shift.const_value is not None
        shift.const_value = ir.tensor(0 * shift.const_value.numpy(), name=shift.name)
        return made

    monkeypatch.setattr(edit, "apply", forgetful)
    from modelport.frontends import open_source
    from modelport.frontends.options import ExportOptions

    loaded = open_source(
        small_source(), inputs=None, weights=None, options=ExportOptions(), transforms=None,
        task=None, labels=None, licence=None, name=None, rewrites=None, operators=None,
    )  # fmt: skip
    graph = loaded.to_graph()
    assert signature_of(graph).inputs[0].dtype == "float32"
    with pytest.raises(VerificationError, match="The edit pixels_in changes the answers"):
        editing.edited(loaded, graph, ["pixels_in"])


def test_the_source_stays_the_oracle_where_outputs_stay(tmp_path: Path) -> None:
    """Fidelity is measured against PyTorch, on pixels that PyTorch never sees as such."""
    torch.manual_seed(0)
    made = deployed(tmp_path, small_source(), "pixels_in")
    (variant,) = made.variants
    assert variant.fidelity is not None
    assert variant.fidelity.sqnr_db is not None
    assert variant.fidelity.sqnr_db > 80

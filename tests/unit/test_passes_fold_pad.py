"""Pad folded into the convolution or pool behind it, and where it must stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, tag, weight

PADS = np.asarray([0, 0, 1, 2, 0, 0, 0, 1], np.int64)


def padded(
    behind: str, *, pad: str = "p = Pad (x, pads)", opset: int = 20, **given: Any
) -> ir.Model:
    weights = {"pads": PADS, "w": weight(5, 4, 3, 3), "zero": np.float32(0), **given}
    text = f"{pad}\n{behind}"
    used = {name: a for name, a in weights.items() if f" {name}" in text or f"({name}" in text}
    return graph(text, takes="float[1,4,7,6] x", gives="float[1,C,A,B] y", opset=opset, **used)


@pytest.mark.parametrize(
    "attributes",
    ["", "<pads = [1, 0, 2, 1]>", "<strides = [2, 2], dilations = [2, 1]>", '<auto_pad = "VALID">'],
)
@pytest.mark.parametrize("pad", ["p = Pad (x, pads)", "p = Pad (x, pads, zero)"])
def test_conv(pad: str, attributes: str) -> None:
    model = tag(padded(f"y = Conv {attributes} (p, w)", pad=pad), p="pad", y="conv")
    assert apply("fold_pad", model, exact=False).operators == ["Conv"]
    assert model.graph[0].metadata_props["modelport.merged"] == "pad"


def test_named_axes() -> None:
    model = padded(
        "y = Conv (p, w)",
        pad="p = Pad (x, pads, zero, axes)",
        pads=np.asarray([1, 2, 0, 1], np.int64),
        axes=np.asarray([-1, 2], np.int64),
    )
    apply("fold_pad", model, exact=False)
    assert list(model.graph[0].attributes["pads"].as_ints()) == [2, 1, 1, 0]


def test_pads_as_attributes() -> None:
    model = padded("y = Conv (p, w)", pad="p = Pad <pads = [0, 0, 1, 2, 0, 0, 0, 1]> (x)", opset=10)
    assert apply("fold_pad", model, exact=False).operators == ["Conv"]


@pytest.mark.parametrize("own", ["", ", count_include_pad = 1, pads = [1, 0, 0, 1]"])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_average_pool(strides: list[int], own: str) -> None:
    model = padded(f"y = AveragePool <kernel_shape = [4, 4], strides = {strides}{own}> (p)")
    applied = apply("fold_pad", model, exact=False, by=[by_onnxruntime])
    assert applied.operators == ["AveragePool"]


@pytest.mark.parametrize("own", ["", ", pads = [1, 0, 0, 1]"])
def test_max_pool_of_what_is_not_negative(own: str) -> None:
    model = padded(
        f"y = MaxPool <kernel_shape = [4, 4], strides = [2, 2]{own}> (p)",
        pad="r = Relu (x)\np = Pad (r, pads)",
    )
    assert apply("fold_pad", model).operators == ["Relu", "MaxPool"]


@pytest.mark.parametrize(
    ("pad", "behind", "given", "reason"),
    [
        ("p = Pad (x, pads)", "y = MaxPool <kernel_shape = [4, 4]> (p)", {},
         "MaxPool pads with the smallest number, and what is padded may be smaller than zero"),
        ("r = Relu (x)\np = Pad (r, pads)", "y = MaxPool <kernel_shape = [4, 2]> (p)", {},
         "MaxPool would have windows of pads alone"),
        ("r = Relu (x)\np = Pad (r, pads)",
         "y = MaxPool <kernel_shape = [4, 4], ceil_mode = 1> (p)", {},
         "MaxPool rounds the number of its windows up"),
        ("p = Pad (x, pads)", "y = AveragePool <kernel_shape = [4, 4], pads = [1, 1, 1, 1]> (p)", {},
         "AveragePool does not count its own pads"),
        ("p = Pad (x, pads)", 'y = Conv <auto_pad = "SAME_UPPER"> (p, w)', {},
         "the sizes decide about the pads of Conv"),
        ('p = Pad <mode = "reflect"> (x, pads)', "y = Conv (p, w)", {},
         "it does not pad with a constant"),
        ("p = Pad (x, pads, one)", "y = Conv (p, w)", {"one": np.float32(1)}, "it pads with 1"),
        ("p = Pad (x, pads)", "y = Conv (p, w)", {"pads": -PADS}, "it cuts off"),
        ("p = Pad (x, pads)", "y = Conv (p, w)",
         {"pads": np.asarray([0, 1, 0, 0, 0, 0, 0, 0], np.int64), "w": weight(5, 5, 3, 3)},
         "it pads the batch or the channels"),
        ("p = Pad (x, pads)", "y = Conv (p, w)\nz = Relu (p)", {},
         "something else reads what is padded too"),
    ],
)  # fmt: skip
def test_refusals(pad: str, behind: str, given: dict[str, Any], reason: str) -> None:
    model = padded(behind, pad=pad, **given)
    applied = apply("fold_pad", model, by=[])
    assert not applied.modified
    assert applied.reasons == [reason]


def test_pads_that_are_computed_are_refused() -> None:
    model = graph(
        "p = Pad (x, pads)\ny = Conv (p, w)",
        takes="float[1,4,7,6] x, int64[8] pads",
        gives="float[1,5,A,B] y",
        w=weight(5, 4, 3, 3),
    )
    assert apply("fold_pad", model, by=[]).reasons == ["its pads are computed"]

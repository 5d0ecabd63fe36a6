"""Schemes are plain data, and what the quantizer refuses, it refuses in words."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import graph, weight

from modelport.errors import EngineUnavailableError, QuantizationError
from modelport.feeds import random_feeds
from modelport.graph.query import operator_counts, signature_of
from modelport.quantize import SCHEMES
from modelport.quantize.nncf import LEAST_SAMPLES, applies, available, quantize
from modelport.quantize.schemes import Scheme


def model() -> ir.Model:
    made = graph(
        "a = Conv<group = 8, pads = [1, 1, 1, 1]>(x, depthwise)\nb = Relu(a)\ny = Conv(b, pointwise)",
        takes="float[1, 8, 8, 8] x",
        gives="float[1, 4, 8, 8] y",
        depthwise=weight(8, 1, 3, 3, seed=1),
        pointwise=weight(4, 8, 1, 1, seed=2),
    )
    for node, name in zip(made.graph, ("first/Conv", "first/Relu", "second/Conv"), strict=True):
        node.name = name
        node.metadata_props["modelport.module"] = name.split("/")[0]
    return made


def feeds(made: ir.Model, count: int = 8) -> list[Any]:
    return [random_feeds(signature_of(made), seed) for seed in range(count)]


@pytest.mark.parametrize("name", list(SCHEMES))
def test_schemes_survive_json(name: str) -> None:
    scheme = SCHEMES.get(name)
    content = json.loads(json.dumps(scheme.to_json()))
    assert set(content) == {field.name for field in dataclasses.fields(Scheme)}
    content["keep_float"] = tuple(content["keep_float"])
    assert Scheme(**content) == scheme


@pytest.mark.parametrize("name", list(SCHEMES))
def test_schemes_cannot_be_changed(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SCHEMES.get(name).bits = 4  # type: ignore[misc]


@pytest.mark.parametrize("count", range(LEAST_SAMPLES))
def test_too_few_samples_are_refused(count: int) -> None:
    made = model()
    with pytest.raises(QuantizationError) as caught:
        quantize(made, SCHEMES.get("int8"), feeds(made, count))
    assert str(caught.value) == (
        f"Calibration has {count} samples. Expected at least 4, better 100 or more. "
        "Point --calibration at a folder with more of what the model will see."
    )


def test_a_missing_quantizer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert available() == 'nncf is not installed: pip install "modelport[quantize]"'
    made = model()
    with pytest.raises(EngineUnavailableError, match=r'pip install "modelport\[quantize\]"'):
        quantize(made, SCHEMES.get("int8"), feeds(made))


def test_mixed_applies_only_where_there_is_something_to_keep() -> None:
    dense = graph(
        "y = Conv(x, w)",
        takes="float[1, 3, 8, 8] x",
        gives="float[1, 4, 8, 8] y",
        w=weight(4, 3, 1, 1),
    )
    mixed = SCHEMES.get("int8-mixed")
    assert applies(model(), mixed) is None
    assert applies(dense, mixed) == "the model has no depthwise convolutions to keep in float"
    assert applies(dense, SCHEMES.get("int8")) is None


def test_nothing_to_quantize_is_said() -> None:
    made = graph("y = Relu(x)", takes="float[1, 4] x", gives="float[1, 4] y")
    with pytest.raises(QuantizationError):
        quantize(made, SCHEMES.get("int8"), feeds(made))


def quantized_inputs(made: ir.Model) -> set[str]:
    """Names of the convolutions whose activations pass a Quantize/Dequantize pair."""
    return {
        node.name or ""
        for node in made.graph
        if node.op_type == "Conv"
        and (producer := node.inputs[0].producer() if node.inputs[0] else None) is not None
        and producer.op_type == "DequantizeLinear"
    }


def test_int8_quantizes_every_convolution_and_keeps_the_modules() -> None:
    made = model()
    before = made.clone()
    result = quantize(made, SCHEMES.get("int8"), feeds(made))
    assert quantized_inputs(result) == {"first/Conv", "second/Conv"}
    assert signature_of(result) == signature_of(made)
    assert operator_counts(made) == operator_counts(before), "the model given must stay as it is"
    for node in result.graph:
        assert node.metadata_props.get("modelport.module") in {"first", "second"}, node


def test_mixed_leaves_depthwise_convolutions_in_float() -> None:
    made = model()
    result = quantize(made, SCHEMES.get("int8-mixed"), feeds(made))
    assert quantized_inputs(result) == {"second/Conv"}


def test_weights_have_one_scale_to_a_channel_and_activations_one() -> None:
    made = model()
    result = quantize(made, SCHEMES.get("int8"), feeds(made))
    sizes = {
        node.name: np.asarray(node.inputs[1].const_value.numpy()).size
        for node in result.graph
        if node.op_type == "QuantizeLinear" and node.inputs[1] and node.inputs[1].const_value
    }
    weights = {name: size for name, size in sizes.items() if name and "weight" in name.lower()}
    activations = [size for name, size in sizes.items() if name not in weights]
    assert activations
    assert set(activations) == {1}


@pytest.mark.parametrize("first", ["pass", "import openvino_telemetry"])
def test_quantizing_sends_no_usage_data(first: str) -> None:
    """NNCF reports its use through openvino_telemetry where that can be imported with it."""
    pytest.importorskip("openvino_telemetry", reason="there is nothing to send usage data with")
    code = (
        "import sys\n"
        "assert 'pytest' not in sys.modules, 'NNCF is silent there anyway'\n"
        f"{first}\n"
        "before = sys.modules.get('openvino_telemetry')\n"
        "from modelport.quantize.nncf import _import_without_telemetry\n"
        "_import_without_telemetry()\n"
        "assert sys.modules.get('openvino_telemetry', before) is before\n"
        "from nncf.telemetry.wrapper import NNCFTelemetry, telemetry\n"
        "assert not isinstance(telemetry, NNCFTelemetry), telemetry\n"
        "import openvino_telemetry  # the user's own code may still have it\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr

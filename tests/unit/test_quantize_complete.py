"""Pairs of Quantize and Dequantize where an engine needs them to compute in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import assert_well_formed, by_onnxruntime, graph, weight
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.errors import QuantizationError
from modelport.feeds import random_feeds
from modelport.graph.query import operator_counts, signature_of
from modelport.quantize.complete import complete

PAIR = "q{0} = QuantizeLinear ({1}, s{0}, z{0})\n{0} = DequantizeLinear (q{0}, s{0}, z{0})\n"
CONV = "w{0} = DequantizeLinear <axis = 0> (k{0}, r{0})\n{0} = Conv <pads = [1, 1, 1, 1]> ({1}, w{0})\n"


class Net:
    """The text of a graph of 4 channels, quantized as a quantizer leaves it, with its constants."""

    def __init__(self) -> None:
        self.body = ""
        self.constants: dict[str, Any] = {}

    def pair(self, name: str, of: str, scale: float = 0.04, zero: int = 128) -> Net:
        self.body += PAIR.format(name, of)
        self.constants |= {f"s{name}": np.float32(scale), f"z{name}": np.uint8(zero)}
        return self

    def conv(self, name: str, of: str) -> Net:
        self.body += CONV.format(name, of)
        seed = len(self.constants)
        integers = np.random.default_rng(seed).integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
        self.constants |= {f"k{name}": integers, f"r{name}": np.full(4, 0.002, np.float32)}
        return self

    def line(self, text: str) -> Net:
        self.body += text + "\n"
        return self

    def model(self, gives: str = "float[1,4,6,6] y", **constants: Any) -> ir.Model:
        takes = "float[1,4,6,6] x"
        return graph(self.body, takes=takes, gives=gives, **self.constants, **constants)


def feeds(model: ir.Model) -> list[Any]:
    return [random_feeds(signature_of(model), seed) for seed in range(16)]


def completed(model: ir.Model, *, exact: bool = False) -> ir.Model:
    """Checked on inputs that calibration has not seen."""
    before = model.clone()
    made = complete(model, feeds(model))
    assert_well_formed(before, made)
    assert operator_counts(model) == operator_counts(before), "the model given stays as it is"
    for seed in (11, 12):
        feed = random_feeds(signature_of(model), seed)
        want, got = by_onnxruntime(before, feed), by_onnxruntime(made, feed)
        for name, array in want.items():
            noise = np.square(got[name] - array).sum()
            assert noise <= (0 if exact else 0.01 * np.square(array).sum()), (name, noise)
    assert pairs(complete(made, feeds(model))) == pairs(made), "a second time adds nothing"
    return made


def pairs(model: ir.Model) -> int:
    return operator_counts(model).get("QuantizeLinear", 0)


def readers(model: ir.Model, operator: str) -> list[set[str]]:
    """What reads each result of those nodes."""
    return [
        {use.node.op_type for use in node.outputs[0].uses()}
        for node in model.graph
        if node.op_type == operator
    ]


def makers(model: ir.Model, operator: str) -> list[list[str]]:
    """What makes the inputs of each of those nodes."""
    return [
        [maker.op_type if (maker := value.producer()) else "" for value in node.inputs if value]
        for node in model.graph
        if node.op_type == operator
    ]


def test_what_lies_between_two_convolutions() -> None:
    """SiLU: three results become integers, where the quantizer had one."""
    net = Net().pair("a", "x").conv("b", "a")
    net.line("c = Sigmoid (b)").line("d = Mul (b, c)").pair("e", "d").conv("f", "e").line(
        "y = Relu (f)"
    )
    made = completed(net.model())
    assert readers(made, "Conv") == [{"QuantizeLinear"}, {"Relu"}], (
        "a clip belongs to what it clips"
    )
    assert readers(made, "Relu") == [{"QuantizeLinear"}]
    assert readers(made, "Sigmoid") == [{"QuantizeLinear"}]
    assert makers(made, "Mul") == [["DequantizeLinear", "DequantizeLinear"]]
    assert pairs(made) == 5


def test_a_shortcut_reads_the_pair_that_is_there() -> None:
    net = Net().pair("a", "x").conv("b", "a").line("c = Relu (b)").pair("d", "c").conv("e", "d")
    net.line("f = Add (e, c)").line("g = Relu (f)").pair("h", "g").conv("y", "h")
    made = completed(net.model())
    assert makers(made, "Add") == [["DequantizeLinear", "DequantizeLinear"]]
    assert readers(made, "Relu") == [{"QuantizeLinear"}, {"QuantizeLinear"}]


def test_what_moves_numbers_keeps_their_grid() -> None:
    net = Net().pair("a", "x").line("b, c = Split <axis = 1, num_outputs = 2> (a)")
    net.line("d = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b)")
    net.line("e = Concat <axis = 1> (c, d)").conv("f", "e").line("y = Identity (f)")
    made = completed(net.model())
    assert makers(made, "Conv")[0][0] == "DequantizeLinear"
    scales = {
        node.inputs[1].name
        for node in made.graph
        if node.op_type == "QuantizeLinear" and node.inputs[1] and "f" not in str(node.inputs[0])
    }
    assert scales == {"sa"}


def test_two_pairs_behind_one_value() -> None:
    """A quantizer gives what a Concat joins one grid, and a convolution beside it a finer one."""
    net = (
        Net()
        .pair("a", "x")
        .conv("b", "a")
        .line("c = Relu (b)")
        .pair("d", "c", 0.04)
        .pair("e", "c", 0.02)
    )
    net.conv("f", "e").line("g = Relu (f)").pair("h", "g", 0.04)
    net.line("i = Concat <axis = 1> (d, h)").line("j, k = Split <axis = 1, num_outputs = 2> (i)")
    net.conv("l", "j").line("m = Add (l, k)").line("y = Identity (m)")
    made = completed(net.model())
    assert readers(made, "Concat") == [{"QuantizeLinear"}]
    (concat,) = [node for node in made.graph if node.op_type == "Concat"]
    (pair,) = [use.node for use in concat.outputs[0].uses()]
    assert pair.inputs[1] is not None
    assert pair.inputs[1].name == "sd", "the grid that all of it has"


def test_moving_alone_adds_no_rounding() -> None:
    """With nothing behind it that multiplies, and with a convolution whose result is rounded anyway."""
    net = (
        Net()
        .pair("a", "x")
        .line("b = Transpose <perm = [0, 1, 3, 2]> (a)")
        .conv("c", "b")
        .pair("y", "c")
    )
    assert pairs(completed(net.model(), exact=True)) == 3
    alone = Net().pair("a", "x").line("y = Transpose <perm = [0, 1, 3, 2]> (a)")
    assert pairs(completed(alone.model(), exact=True)) == 1


def test_an_output_keeps_its_name() -> None:
    made = completed(Net().pair("a", "x").conv("y", "a").model())
    assert [value.name for value in made.graph.outputs] == ["y"]
    (value,) = made.graph.outputs
    assert value.producer() is not None
    assert value.producer().op_type == "DequantizeLinear"  # type: ignore[union-attr]


def test_an_output_that_a_convolution_reads_too() -> None:
    net = Net().pair("a", "x").conv("b", "a").line("y = Relu (b)").pair("d", "y").conv("e", "d")
    net.line("f = Add (e, y)").line("out = Relu (f)")
    made = completed(net.model(gives="float[1,4,6,6] y, float[1,4,6,6] out"))
    assert [value.name for value in made.graph.outputs] == ["y", "out"]
    assert makers(made, "Add") == [["DequantizeLinear", "DequantizeLinear"]]


def test_float_weights_stay_among_floats() -> None:
    """What a scheme keeps in float: nothing there would be faster in integers."""
    net = (
        Net().pair("a", "x").line("b = Conv (a, w)").line("c = Sigmoid (b)").line("y = Mul (b, c)")
    )
    model = net.model(gives="float[1,4,6,6] y", w=weight(4, 4, 1, 1))
    assert pairs(completed(model, exact=True)) == 1


def test_a_float_graph_stays_as_it_is() -> None:
    model = graph("y = Relu (x)", takes="float[1,4,6,6] x", gives="float[1,4,6,6] y")
    assert pairs(completed(model, exact=True)) == 0


def test_what_is_always_zero_gets_a_grid() -> None:
    net = Net().pair("a", "x").conv("b", "a").line("c = Mul (b, none)").line("y = Relu (c)")
    net.constants["kb"] = np.zeros((4, 4, 3, 3), np.int8)
    assert pairs(completed(net.model(none=np.zeros(1, np.float32)), exact=True)) == 2


STEPS = {
    "conv": lambda net, name, of: net.conv(name, of),
    "quantized": lambda net, name, of: net.pair(f"{name}p", of).conv(name, f"{name}p"),
    "relu": lambda net, name, of: net.line(f"{name} = Relu ({of})"),
    "silu": lambda net, name, of: net.line(f"{name}s = Sigmoid ({of})").line(
        f"{name} = Mul ({of}, {name}s)"
    ),
    "pool": lambda net, name, of: net.line(
        f"{name} = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({of})"
    ),
    "twice": lambda net, name, of: net.line(f"{name} = Add ({of}, {of})"),
}


@given(steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_order_stays_a_graph_that_is_close(steps: list[str]) -> None:
    net, last = Net(), "x"
    for index, step in enumerate(steps):
        STEPS[step](net, f"v{index}", last)
        last = f"v{index}"
    completed(net.line(f"y = Identity ({last})").model())


@pytest.mark.parametrize("operator", ["Conv", "Sigmoid", "Mul"])
def test_onnxruntime_computes_all_of_it_in_integers(operator: str, tmp_path: Any) -> None:
    import onnxruntime as ort

    from modelport.graph.io import to_proto

    net = Net().pair("a", "x").conv("b", "a")
    net.line("c = Sigmoid (b)").line("d = Mul (b, c)").pair("e", "d").conv("f", "e").line(
        "y = Relu (f)"
    )
    made = completed(net.model())
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(to_proto(made).SerializeToString(), options, ["CPUExecutionProvider"])
    left = operator_counts(ir.load(tmp_path / "optimised.onnx"))
    assert operator not in left
    assert any(name.endswith(f"QLinear{operator}") for name in left), left


def test_a_range_without_an_end_is_refused() -> None:
    """A value that is infinite on calibration data would get one step for everything."""
    net = Net().pair("a", "x").conv("b", "a").pair("y", "b").conv("c", "y").line("out = Relu (c)")
    net.constants["rc"] = np.full(4, 3e38, np.float32)
    model = net.model(gives="float[1,4,6,6] out")
    with pytest.raises(QuantizationError, match=r"out goes from .* to .* on the calibration data"):
        complete(model, feeds(model))

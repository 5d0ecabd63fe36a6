"""Every operator that Caffe layers are written for gives what ONNX Runtime gives; others are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx  # noqa: TID251 - writes graphs as text, as another tool would
import onnx_ir as ir
import pytest

from modelport.engines import ENGINES
from modelport.engines.caffe.compile import OPERATORS
from modelport.engines.caffe.message import net_parameter
from modelport.engines.scratch import opened
from modelport.engines.workers.process import Worker
from modelport.engines.workers.remote import RemoteSession
from modelport.errors import EngineError
from modelport.feeds import random_feeds
from modelport.graph.io import from_proto
from modelport.graph.query import signature_of
from modelport.passes import PASSES
from modelport.types import Target


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def floats(*numbers: float) -> np.ndarray:
    return np.asarray(numbers, np.float32)


CONSTANTS = {
    "w": weights(6, 4, 3, 3),
    "grouped": weights(8, 2, 3, 3),
    "deep": weights(4, 1, 2, 3),
    "turned": weights(4, 3, 3, 2),
    "turned_groups": weights(4, 2, 3, 3),
    "six": weights(6),
    "three": weights(3),
    "matrix": weights(7, 5),
    "rows": weights(5, 7),
    "five": weights(5),
    "half": np.asarray(0.5, np.float32),
    "two": np.asarray(2, np.float32),
    "low": np.asarray(-0.4, np.float32),
    "channels": weights(4, 1, 1),
    "slopes": np.abs(weights(4, 1, 1)),
    "spread": np.abs(weights(4)) + 0.5,
    "field": np.abs(weights(8, 7)) + 0.5,
    "border": ints(0, 0, 1, 2, 0, 0, 3, 0),
    "last": ints(-1),
    "middle": ints(2),
    "inner": ints(1, 2),
    "picture": ints(2, 3),
    "flat": ints(2, -1),
    "shape": ints(2, 7, 4, 8),
    "parts": ints(1, 2, 1),
    "starts": ints(1, -5),
    "ends": ints(3, 100),
    "axes": ints(1, 3),
    "scales": floats(1, 1, 2, 3),
    "sizes": ints(2, 4, 24, 7),
}

X = "float[2,4,8,7] x"
Y = "float[a,b,c,d] y"

EQUAL = [
    ("y = Conv <pads = [1, 1, 1, 1], strides = [2, 1]> (x, w, six)", X, Y),
    ("y = Conv <pads = [0, 2, 1, 0]> (x, w)", X, Y),
    ("y = Conv <pads = [2, 0, 0, 2], dilations = [2, 2]> (x, w)", X, Y),
    ("y = Conv <group = 2, pads = [1, 1, 1, 1]> (x, grouped)", X, Y),
    ('y = Conv <group = 4, auto_pad = "SAME_UPPER", strides = [2, 2]> (x, deep)', X, Y),
    ('y = Conv <auto_pad = "SAME_LOWER"> (x, w)', X, Y),
    ("y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, turned, three)", X, Y),
    ("y = ConvTranspose <strides = [2, 2], output_padding = [1, 1], pads = [1, 0, 1, 0]> (x, turned)",
     X, Y),
    ("y = ConvTranspose <strides = [2, 3], pads = [0, 1, 2, 0], group = 2> (x, turned_groups)", X, Y),
    ("y = Pad (x, border)", X, Y),
    ("y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", X, Y),
    ("y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [0, 0, 1, 1]> (x)", X, Y),
    ("y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (x)", X, Y),
    ("y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", X, Y),
    ("y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", X, Y),
    ("y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)", X, Y),
    ("y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (x)", X, Y),
    ("y = GlobalAveragePool (x)", X, Y),
    ("y = GlobalMaxPool (x)", X, Y),
    ("a = MatMul (r, rows)\nb = Relu (a)\ny = MatMul (b, matrix)", "float[3,5] r", "float[a,b] y"),
    ("y = MatMul (r, matrix)", "float[2,3,7] r", "float[a,b,c] y"),
    ("y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (r, rows, five)", "float[3,7] r", "float[a,b] y"),
    ("a = Add (x, x2)\nb = Sub (a, x2)\nc = Mul (b, x2)\ny = Max (c, x)", f"{X}, float[2,4,8,7] x2", Y),
    ("a = Min (x, x2)\nb = Exp (x2)\nc = Div (a, b)\ny = Sum (c, x, x2)", f"{X}, float[2,4,8,7] x2", Y),
    ("a = Add (x, half)\nb = Sub (half, a)\nc = Mul (b, two)\nd = Div (c, two)\ny = Pow (d, two)", X, Y),
    ("a = Exp (x)\ny = Div (half, a)", X, Y),
    ("a = Max (x, low)\ny = Min (half, a)", X, Y),
    ("a = Add (x, channels)\nb = Mul (a, field)\nc = Sub (channels, b)\ny = Div (c, field)", X, Y),
    ("a = GlobalAveragePool (x)\nb = Sigmoid (a)\ny = Mul (b, x)", X, Y),
    ("a = GlobalAveragePool (x)\ny = Sub (x, a)", X, Y),
    ("a = ReduceMean (x, inner)\ny = Add (x, a)", "float[1,4,8,7] x", Y),
    ("a = Mul (x, x)\nb = Add (a, x)\ny = Add (b, b)", X, Y),
    ("a = Relu (x)\nb = LeakyRelu <alpha = 0.2> (x)\nc = Add (a, b)\ny = Elu <alpha = 0.7> (c)", X, Y),
    ("y = PRelu (x, slopes)", X, Y),
    ("y = PRelu (x, half)", X, Y),
    ("a = Sigmoid (x)\nb = Tanh (a)\nc = Neg (b)\nd = Abs (c)\ne = Sqrt (d)\ny = Reciprocal (e)", X, Y),
    ("a = Exp (x)\nb = Log (a)\ny = Softplus (b)", X, Y),
    ("a = Clip (x, low, half)\nb = Clip (x, low)\nc = Clip (x, , half)\nd = Add (a, b)\ny = Add (c, d)",
     X, Y),
    ("a = HardSigmoid <alpha = 0.3, beta = 0.4> (x)\nb = HardSwish (x)\nc = Mish (x)\nd = Add (a, b)\n"
     "y = Mul (c, d)", X, Y),
    ("a = Softmax <axis = 1> (x)\nb = Softmax (x)\nc = LogSoftmax <axis = 2> (x)\nd = Add (a, b)\n"
     "y = Add (c, d)", X, Y),
    ("y = BatchNormalization (x, spread, spread, spread, spread)", X, Y),
    ("y = LRN <size = 3, alpha = 0.2, beta = 0.6, bias = 1.5> (x)", X, Y),
    ("y = ReduceMean (x, picture)", X, Y),
    ("y = ReduceMax <keepdims = 0> (x, picture)", X, "float[a,b] y"),
    ("y = ReduceSum <keepdims = 0> (x, middle)", X, "float[a,b,c] y"),
    ("y = ReduceMin (x, last)", X, Y),
    ("y = ReduceL2 <keepdims = 0> (x, inner)", X, "float[a,b] y"),
    ("y = ReduceMean <keepdims = 1> (r)", "float[1,5,3] r", "float[a,b,c] y"),
    ("a = Flatten (x)\ny = Relu (a)", X, "float[a,b] y"),
    ("a = Reshape (x, shape)\ny = Neg (a)", X, Y),
    ("a = Unsqueeze (x, last)\ny = Squeeze (a, last)", X, Y),
    ("y = Transpose <perm = [0, 2, 3, 1]> (x)", X, Y),
    ("y = Transpose <perm = [0, 3, 1, 2]> (x)", "float[2,3,4,1] x", Y),
    ("p, q, r0 = Split <axis = 1> (x, parts)\ny = Concat <axis = 1> (r0, q, p)", X, Y),
    ("p, y, r0 = Split <axis = 1> (x, parts)", X, Y),
    ("y = Slice (x, starts, ends, axes)", X, Y),
    ("y = Resize <mode = \"nearest\"> (x, , scales)", X, Y),
    ('y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
     " (x, , , sizes)", X, Y),
    ("y = DepthToSpace <blocksize = 2> (x)", X, Y),
    ('y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', "float[1,8,3,2] x", Y),
    ("y = SpaceToDepth <blocksize = 2> (x)", "float[2,3,4,6] x", Y),
    ("y = Identity (x)", X, Y),
    ("a = Dropout (x)\ny, z = Split <axis = 0, num_outputs = 2> (a)", X, f"{Y}, float[e,f,g,h] z"),
]  # fmt: skip
"""Nodes, inputs and outputs."""


def graph(body: str, takes: str, gives: str) -> ir.Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]>\nmain ({takes}) => ({gives}) {{\n{body}\n}}'
    )
    for name in sorted(set(re.findall(r"\w+", body)) & set(CONSTANTS)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(CONSTANTS[name], name))
    model = from_proto(proto)
    for index, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{index}"
        node.metadata_props["modelport.module"] = f"block.{index}"
    PASSES.get("infer_shapes")(model)
    return model


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    engine = ENGINES.get("caffe")
    if (reason := engine.available()) is not None:
        pytest.skip(f"caffe: {reason}")
    made = Worker("caffe", None if engine.runs_here() else engine.own_python())
    yield made
    made.close()


@pytest.mark.parametrize(("body", "takes", "gives"), EQUAL, ids=lambda each: each[:40])
def test_layers_compute_the_same(
    body: str, takes: str, gives: str, worker: Worker, tmp_path: Path
) -> None:
    model = graph(body, takes, gives)
    artifact = ENGINES.get("caffe").compile(model, Target(), tmp_path)
    feeds = random_feeds(signature_of(model), 1)
    with opened(ENGINES.get("onnxruntime"), model, Target()) as oracle:
        want = oracle.run(feeds)
    with RemoteSession(artifact, 1, worker) as session:
        got = session.run(feeds)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=2e-5)


def test_every_operator_is_among_them() -> None:
    """Those of one layer alone count where any graph has them."""
    told = " ".join(body for body, *_ in EQUAL)
    assert {name for name in OPERATORS if not re.search(rf"\b{name} [(<]", told)} == set()


@pytest.mark.parametrize(
    ("body", "takes", "gives", "said"),
    [
        ("a = Relu (x)\ny = Erf (a)", X, Y, "Erf in block.1: no layer of Caffe computes it"),
        ("y = MatMul (r, s)", "float[3,4] r, float[4,5] s", "float[a,b] y",
         "MatMul in block.0: Caffe multiplies by constant matrices alone, from the right"),
        ("a = GlobalAveragePool (x)\nb = ReduceMean (x, inner)\ny = Mul (a, b)",
         "float[1,4,8,7] x", Y, "both of its values are repeated, and Caffe repeats one"),
        ('y = Resize <mode = "linear"> (x, , scales)', X, Y, "resizes by mode linear"),
        ('y = Resize <mode = "nearest", coordinate_transformation_mode = "align_corners"> (x, , , sizes)',
         X, Y, "it makes 24 of 8, and not each pixel as often as the others"),
        ("y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", X, Y,
         "Caffe's Pooling has no dilation"),
        ("y = Conv <dilations = [2, 2], pads = [0, 0, 1, 1]> (x, w)", X, Y,
         "it pads one side more, by no multiple of its dilation"),
        ("i = ArgMax <axis = 1> (x)\ny = Cast <to = 1> (i)", X, Y,
         "ArgMax in block.0: no layer of Caffe computes it; Cast in block.1: no layer of Caffe computes it"),
        ("y = ReduceMean <keepdims = 1> (x)", X, Y, "it runs over the batch"),
        ("a = Greater (x, half)\nb = Not (a)\ny = Where (b, x, half)", X, Y, "Where in block.2"),
    ],
)  # fmt: skip
def test_what_has_no_layers_is_refused_with_its_module(
    body: str, takes: str, gives: str, said: str, tmp_path: Path
) -> None:
    engine = ENGINES.get("caffe")
    with pytest.raises(EngineError, match=re.escape(said)):
        engine.prepare(graph(body, takes, gives), Target(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_are_messages_of_caffe(tmp_path: Path) -> None:
    """The text has the layers, the bytes the weights too; in both, fields have Caffe's names and numbers."""
    from google.protobuf import text_format

    model = graph("a = Conv <pads = [1, 1, 1, 1]> (x, w, six)\ny = Relu (a)", X, Y)
    made = ENGINES.get("caffe").prepare(model, Target(), tmp_path)
    assert made.commands == ()
    assert made.makes == {"model": "model.prototxt", "weights": "model.caffemodel"}
    text = (tmp_path / "model.prototxt").read_text()
    bare, full = net_parameter()(), net_parameter()()
    text_format.Parse(text, bare)
    full.ParseFromString((tmp_path / "model.caffemodel").read_bytes())
    assert [layer.type for layer in bare.layer] == ["Input", "Convolution", "ReLU"]
    assert "input_param {\n    shape {\n      dim: 2\n      dim: 4" in text
    assert "kernel_size: 3" in text
    assert "blobs" not in text
    weight, bias = full.layer[1].blobs
    assert list(weight.shape.dim) == [6, 4, 3, 3]
    np.testing.assert_array_equal(np.asarray(weight.data, np.float32), CONSTANTS["w"].reshape(-1))
    np.testing.assert_array_equal(np.asarray(bias.data, np.float32), CONSTANTS["six"])
    data = (tmp_path / "model.caffemodel").read_bytes()
    assert data.startswith(b"\x0a\x09modelport\xa2\x06")  # 1: name, 100: layer
    assert b"\xd2\x06" in data  # 106: convolution_param

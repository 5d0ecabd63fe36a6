"""Every layer of a network gives what PyTorch gives, and says in its own words what it cannot take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import by_onnxruntime
from torch import nn

from modelport.errors import UsageError
from modelport.frontends.network import Network
from modelport.graph.query import operator_counts

Array = np.ndarray[Any, Any]
Layer = Callable[[Network, Any], Any]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(numbers(*shape, seed=seed))


def check(
    layer: Layer, expected: Callable[..., Any], *shapes: tuple[int, ...], **how: Any
) -> Network:
    """Builds the layer on inputs of those shapes, with fixed and with free sizes, and compares."""
    opset = how.pop("opset", 20)
    arrays = [numbers(*shape, seed=index + 1) for index, shape in enumerate(shapes)]
    with torch.no_grad():
        wanted = expected(*(torch.from_numpy(array) for array in arrays))
    wanted = list(wanted) if isinstance(wanted, (tuple, list)) else [wanted]
    net = None
    for free in (False, True) if how.pop("free", True) else (False,):
        net = Network("test", opset=opset)
        inputs = [
            net.input(f"in{i}", "float32", ["n" if free and axis == 0 else size for axis, size in
                      enumerate(shape)])
            for i, shape in enumerate(shapes)
        ]  # fmt: skip
        results = layer(net, *inputs)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        for index, result in enumerate(results):
            net.output(result, f"out{index}")
        feeds = {f"in{i}": array for i, array in enumerate(arrays)}
        found = by_onnxruntime(net.build(), feeds)
        for index, (result, want) in enumerate(zip(results, wanted, strict=True)):
            got = found[f"out{index}"]
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)
            assert got.dtype == want.numpy().dtype
            assert len(result.shape) == got.ndim
            assert all(
                size == real for size, real in zip(result.shape, got.shape, strict=True)
                if isinstance(size, int)
            )  # fmt: skip
    assert net is not None
    return net


W = numbers(6, 4, 3, 3, seed=8)
B = numbers(6, seed=9)
CONVS = [
    {},
    {"stride": 2},
    {"stride": (2, 1), "padding": (1, 0)},
    {"padding": 1, "dilation": 2},
    {"padding": "same"},
    {"padding": "same", "dilation": (2, 1)},
]


@pytest.mark.parametrize("how", CONVS, ids=str)
@pytest.mark.parametrize("bias", [None, B], ids=["plain", "bias"])
def test_conv2d(how: dict[str, Any], bias: Array | None) -> None:
    b = None if bias is None else torch.from_numpy(bias)
    check(
        lambda net, x: net.conv2d(x, W, bias, **how),
        lambda x: F.conv2d(x, torch.from_numpy(W), b, **how),
        (2, 4, 9, 11),
    )


def test_conv2d_with_four_sides() -> None:
    """Top, left, bottom, right; torch's pad counts from the last axis."""
    check(
        lambda net, x: net.conv2d(x, W, padding=(1, 2, 0, 3)),
        lambda x: F.conv2d(F.pad(x, (2, 3, 1, 0)), torch.from_numpy(W)),
        (1, 4, 5, 5),
    )


def test_conv2d_same_with_stride_divides_the_size() -> None:
    """As TensorFlow has it: the odd zero comes at the end."""
    net = check(
        lambda net, x: net.conv2d(x, W, stride=2, padding="same"),
        lambda x: F.conv2d(F.pad(x, (0, 1, 0, 1)), torch.from_numpy(W), stride=2),
        (1, 4, 8, 8),
    )
    assert net.build().graph.outputs[0].shape[2:] == (4, 4)


def test_grouped_and_depthwise_convolutions() -> None:
    for groups in (2, 4):
        w = numbers(8, 4 // groups, 3, 3)
        check(
            lambda net, x, w=w, groups=groups: net.conv2d(x, w, groups=groups),
            lambda x, w=w, groups=groups: F.conv2d(x, torch.from_numpy(w), groups=groups),
            (2, 4, 6, 6),
        )


def test_conv1d_and_conv3d() -> None:
    one, three = numbers(5, 3, 4), numbers(5, 3, 2, 3, 2)
    check(
        lambda net, x: net.conv1d(x, one, stride=2, padding=(1, 2)),
        lambda x: F.conv1d(F.pad(x, (1, 2)), torch.from_numpy(one), stride=2),
        (2, 3, 10),
    )
    check(
        lambda net, x: net.conv3d(x, three, padding=(1, 0, 1)),
        lambda x: F.conv3d(x, torch.from_numpy(three), padding=(1, 0, 1)),
        (2, 3, 4, 5, 4),
    )


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"groups": 2},
    ],
    ids=str,
)
def test_conv_transpose2d(how: dict[str, Any]) -> None:
    w = numbers(4, 3, 3, 3)
    bias = numbers(3 * how.get("groups", 1))
    check(
        lambda net, x: net.conv_transpose2d(x, w, bias, **how),
        lambda x: F.conv_transpose2d(x, torch.from_numpy(w), torch.from_numpy(bias), **how),
        (2, 4, 5, 6),
    )


def test_conv_transpose1d_and_3d() -> None:
    one, three = numbers(3, 2, 4), numbers(3, 2, 2, 2, 2)
    check(
        lambda net, x: net.conv_transpose1d(x, one, stride=2),
        lambda x: F.conv_transpose1d(x, torch.from_numpy(one), stride=2),
        (2, 3, 5),
    )
    check(
        lambda net, x: net.conv_transpose3d(x, three),
        lambda x: F.conv_transpose3d(x, torch.from_numpy(three)),
        (1, 3, 3, 3, 3),
    )


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 1, 3, 5)], ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(shape: tuple[int, ...], with_bias: bool) -> None:
    w, b = numbers(4, 5), numbers(4) if with_bias else None
    check(
        lambda net, x: net.linear(x, w, b),
        lambda x: F.linear(x, torch.from_numpy(w), None if b is None else torch.from_numpy(b)),
        shape,
    )


def test_linear_with_a_computed_weight() -> None:
    check(lambda net, x, w: net.linear(x, w), F.linear, (2, 3, 5), (4, 5), free=False)
    check(lambda net, x, w: net.linear(x, w), F.linear, (3, 5), (4, 5), free=False)


X4 = (2, 4, 9, 10)
SAME: dict[str, tuple[Layer, Callable[..., Any], tuple[int, ...]]] = {
    "relu": (lambda n, x: n.relu(x), F.relu, X4),
    "relu6": (lambda n, x: n.relu6(x * 5), lambda x: F.relu6(x * 5), X4),
    "silu": (lambda n, x: n.silu(x), F.silu, X4),
    "gelu": (lambda n, x: n.gelu(x), F.gelu, X4),
    "gelu tanh": (
        lambda n, x: n.gelu(x, "tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        X4,
    ),
    "hardswish": (lambda n, x: n.hardswish(x * 4), lambda x: F.hardswish(x * 4), X4),
    "hardsigmoid": (lambda n, x: n.hardsigmoid(x * 4), lambda x: F.hardsigmoid(x * 4), X4),
    "sigmoid": (lambda n, x: n.sigmoid(x), torch.sigmoid, X4),
    "tanh": (lambda n, x: n.tanh(x), torch.tanh, X4),
    "mish": (lambda n, x: n.mish(x), F.mish, X4),
    "elu": (lambda n, x: n.elu(x), F.elu, X4),
    "softplus": (lambda n, x: n.softplus(x), F.softplus, X4),
    "softmax": (lambda n, x: n.softmax(x), lambda x: x.softmax(-1), X4),
    "softmax 1": (lambda n, x: n.softmax(x, 1), lambda x: x.softmax(1), X4),
    "log_softmax": (lambda n, x: n.log_softmax(x), lambda x: x.log_softmax(-1), X4),
    "leaky_relu": (lambda n, x: n.leaky_relu(x), F.leaky_relu, X4),
    "leaky_relu 0.2": (lambda n, x: n.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2), X4),
    "exp": (lambda n, x: n.exp(x), torch.exp, X4),
    "log": (lambda n, x: n.log(n.abs(x) + 1), lambda x: torch.log(x.abs() + 1), X4),
    "sqrt": (lambda n, x: n.sqrt(abs(x)), lambda x: torch.sqrt(x.abs()), X4),
    "erf": (lambda n, x: n.erf(x), torch.erf, X4),
    "clip": (lambda n, x: n.clip(x, -0.5, 0.2), lambda x: x.clip(-0.5, 0.2), X4),
    "clip above": (lambda n, x: n.clip(x, maximum=0.2), lambda x: x.clip(max=0.2), X4),
    "max_pool2d": (lambda n, x: n.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2), X4),
    "max_pool2d 3 2 1": (
        lambda n, x: n.max_pool2d(x, 3, 2, 1),
        lambda x: F.max_pool2d(x, 3, 2, 1),
        X4,
    ),
    "max_pool2d dilated": (
        lambda n, x: n.max_pool2d(x, 3, 1, dilation=2),
        lambda x: F.max_pool2d(x, 3, 1, dilation=2),
        X4,
    ),
    "max_pool2d ceil": (
        lambda n, x: n.max_pool2d(x, 2, ceil_mode=True),
        lambda x: F.max_pool2d(x, 2, ceil_mode=True),
        X4,
    ),
    "max_pool2d ceil padded": (
        lambda n, x: n.max_pool2d(x, 2, 2, 1, ceil_mode=True),
        lambda x: F.max_pool2d(x, 2, 2, 1, ceil_mode=True),
        X4,
    ),
    "max_pool2d ceil far": (
        lambda n, x: n.max_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
        lambda x: F.max_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
        (2, 4, 8, 11),
    ),
    "avg_pool2d ceil": (
        lambda n, x: n.avg_pool2d(x, 2, 2, 1, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 2, 2, 1, ceil_mode=True),
        X4,
    ),
    "avg_pool2d ceil far": (
        lambda n, x: n.avg_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
        (2, 4, 8, 11),
    ),
    "avg_pool2d": (lambda n, x: n.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), X4),
    "avg_pool2d padded": (
        lambda n, x: n.avg_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        X4,
    ),
    "avg_pool2d uncounted": (
        lambda n, x: n.avg_pool2d(x, 3, 2, 1, count_padding=False),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        X4,
    ),
    "max_pool1d": (lambda n, x: n.max_pool1d(x, 3), lambda x: F.max_pool1d(x, 3), (2, 3, 9)),
    "max_pool3d": (lambda n, x: n.max_pool3d(x, 2), lambda x: F.max_pool3d(x, 2), (1, 2, 4, 4, 4)),
    "avg_pool1d": (lambda n, x: n.avg_pool1d(x, 3), lambda x: F.avg_pool1d(x, 3), (2, 3, 9)),
    "avg_pool3d": (lambda n, x: n.avg_pool3d(x, 2), lambda x: F.avg_pool3d(x, 2), (1, 2, 4, 4, 4)),
    "global_avg_pool": (
        lambda n, x: n.global_avg_pool(x),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        X4,
    ),
    "global_max_pool": (
        lambda n, x: n.global_max_pool(x),
        lambda x: F.adaptive_max_pool2d(x, 1),
        X4,
    ),
    "adaptive_avg_pool2d": (
        lambda n, x: n.adaptive_avg_pool2d(x, (3, 5)),
        lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
        X4,
    ),
    "adaptive_max_pool2d": (
        lambda n, x: n.adaptive_max_pool2d(x, (9, 2)),
        lambda x: F.adaptive_max_pool2d(x, (9, 2)),
        X4,
    ),
    "concat": (
        lambda n, x: n.concat([x, x * 2], axis=-1),
        lambda x: torch.cat([x, x * 2], -1),
        X4,
    ),
    "stack": (lambda n, x: n.stack([x, -x], 1), lambda x: torch.stack([x, -x], 1), X4),
    "split": (lambda n, x: n.split(x, 2), lambda x: x.chunk(2, 1), X4),
    "split sizes": (lambda n, x: n.split(x, [2, 7], 2), lambda x: x.split([2, 7], 2), X4),
    "pad": (
        lambda n, x: n.pad(x, {2: (1, 2), -1: (0, 3)}),
        lambda x: F.pad(x, (0, 3, 1, 2)),
        X4,
    ),
    "pad pairs": (
        lambda n, x: n.pad(x, [(0, 0), (1, 0), (0, 0), (2, 2)], value=-3.0),
        lambda x: F.pad(x, (2, 2, 0, 0, 1, 0), value=-3.0),
        X4,
    ),
    "pad reflect": (
        lambda n, x: n.pad(x, {2: (1, 2), 3: (3, 0)}, "reflect"),
        lambda x: F.pad(x, (3, 0, 1, 2), "reflect"),
        X4,
    ),
    "pad edge": (
        lambda n, x: n.pad(x, {3: (3, 1)}, "edge"),
        lambda x: F.pad(x, (3, 1, 0, 0), "replicate"),
        X4,
    ),
    "pixel_shuffle": (lambda n, x: n.pixel_shuffle(x, 2), lambda x: F.pixel_shuffle(x, 2), X4),
    "flatten": (lambda n, x: n.flatten(x), lambda x: x.flatten(1), X4),
    "flatten 2": (lambda n, x: n.flatten(x, 2), lambda x: x.flatten(2), X4),
    "flatten -2": (lambda n, x: n.flatten(x, -2), lambda x: x.flatten(2), X4),
    "reshape": (lambda n, x: n.reshape(x, (0, 2, -1)), lambda x: x.reshape(2, 2, -1), X4),
    "reshape method": (lambda n, x: x.reshape(-1, 10), lambda x: x.reshape(-1, 10), X4),
    "reshape shape": (
        lambda n, x: x.reshape(x.shape[0], 4, -1),
        lambda x: x.reshape(2, 4, -1),
        X4,
    ),
    "reshape moved": (
        lambda n, x: x.reshape(4, x.shape[0], -1),
        lambda x: x.reshape(4, 2, -1),
        X4,
    ),
    "transpose": (
        lambda n, x: n.transpose(x, (0, 2, 3, 1)),
        lambda x: x.permute(0, 2, 3, 1),
        X4,
    ),
    "transpose all": (lambda n, x: x.transpose(), lambda x: x.permute(3, 2, 1, 0), X4),
    "transpose method": (lambda n, x: x.transpose(0, 1, 3, 2), lambda x: x.transpose(2, 3), X4),
    "squeeze": (lambda n, x: n.squeeze(x, 1), lambda x: x.squeeze(1), (3, 1, 4)),
    "unsqueeze": (lambda n, x: n.unsqueeze(x, [1, -1]), lambda x: x[:, None, ..., None], (3, 4)),
    "expand": (
        lambda n, x: n.expand(x, (x.shape[0], 5, 4)),
        lambda x: x.expand(3, 5, 4),
        (3, 1, 4),
    ),
    "mean": (lambda n, x: n.mean(x, (2, 3)), lambda x: x.mean((2, 3)), X4),
    "mean all": (lambda n, x: n.mean(x), lambda x: x.mean(), X4),
    "sum kept": (lambda n, x: n.sum(x, 1, keepdims=True), lambda x: x.sum(1, keepdim=True), X4),
    "max": (lambda n, x: n.max(x, -1), lambda x: x.amax(-1), X4),
    "min": (lambda n, x: n.min(x, 1), lambda x: x.amin(1), X4),
    "argmax": (lambda n, x: n.argmax(x, 1), lambda x: x.argmax(1), X4),
    "minimum": (lambda n, x: n.minimum(x, 0.3), lambda x: x.clip(max=0.3), X4),
    "maximum": (lambda n, x: n.maximum(x, -x), lambda x: torch.maximum(x, -x), X4),
    "topk": (lambda n, x: n.topk(x, 3), lambda x: x.topk(3), X4),
    "topk least": (
        lambda n, x: n.topk(x, 2, axis=1, largest=False),
        lambda x: x.topk(2, 1, largest=False),
        X4,
    ),
    "gather": (lambda n, x: n.gather(x, [3, 0], 1), lambda x: x[:, [3, 0]], X4),
    "where": (
        lambda n, x: n.where(x > 0, x, x * 0.1),
        lambda x: torch.where(x > 0, x, x * 0.1),
        X4,
    ),
    "where number": (
        lambda n, x: n.where(x > 0, x, -1.0),
        lambda x: torch.where(x > 0, x, torch.tensor(-1.0)),
        X4,
    ),
    "arithmetic": (
        lambda n, x: 1 - (2 * x + 3) / 4 - x**2 + 2**x / (1 + abs(x)),
        lambda x: 1 - (2 * x + 3) / 4 - x**2 + 2**x / (1 + abs(x)),
        X4,
    ),
    "arrays on the left": (
        lambda n, x: numbers(4, 1, 1) * x - numbers(10),
        lambda x: tensor(4, 1, 1) * x - tensor(10),
        X4,
    ),
    "matmul": (lambda n, x: x @ numbers(10, 3), lambda x: x @ tensor(10, 3), X4),
    "matmul left": (lambda n, x: numbers(7, 9) @ x, lambda x: tensor(7, 9) @ x, X4),
    "truths": (
        lambda n, x: n.where(((x > 0) & ~(x >= 1)) | (x < -1) | (x <= -2), 1.0, x),
        lambda x: torch.where(((x > 0) & ~(x >= 1)) | (x < -1), torch.tensor(1.0), x),
        X4,
    ),
    "equal": (
        lambda n, x: n.where(n.relu(x) == 0, -1.0, n.where(x != x, x, x * 2)),
        lambda x: torch.where(F.relu(x) == 0, torch.tensor(-1.0), x * 2),
        X4,
    ),
    "cast": (lambda n, x: x.cast("int32").cast("float32"), lambda x: x.int().float(), X4),
    "resize nearest": (
        lambda n, x: n.resize(x, (5, 23)),
        lambda x: F.interpolate(x, (5, 23)),
        X4,
    ),
    "upsample": (lambda n, x: n.upsample(x, 2), lambda x: F.interpolate(x, scale_factor=2), X4),
    "upsample factors": (
        lambda n, x: n.upsample(x, (1.5, 3), "bilinear"),
        lambda x: F.interpolate(x, scale_factor=(1.5, 3), mode="bilinear"),
        X4,
    ),
    "resize linear": (
        lambda n, x: n.resize(x, (18, 4), mode="bilinear"),
        lambda x: F.interpolate(x, (18, 4), mode="bilinear"),
        X4,
    ),
    "resize linear to one": (
        lambda n, x: n.resize(x, (1, 4), mode="linear"),
        lambda x: F.interpolate(x, (1, 4), mode="bilinear"),
        X4,
    ),
    "resize corners": (
        lambda n, x: n.resize(x, (18, 4), mode="linear", align_corners=True),
        lambda x: F.interpolate(x, (18, 4), mode="bilinear", align_corners=True),
        X4,
    ),
    "resize cubic": (
        lambda n, x: n.resize(x, (18, 4), mode="cubic"),
        lambda x: F.interpolate(x, (18, 4), mode="bicubic"),
        X4,
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_layer_gives_what_pytorch_gives(name: str) -> None:
    layer, expected, shape = SAME[name]
    check(layer, expected, shape)


INDICES: list[Any] = [
    0, -1, np.s_[:, 1], np.s_[:, 1:3], np.s_[..., -2:], np.s_[:, None, 2:], np.s_[:, -1, ..., 0],
    np.s_[:, :, 1::3], np.s_[..., None], np.s_[:, [2, 0, 0]], np.s_[..., 2, 1:4, 3], np.s_[None, 0, None, 1],
    np.s_[:, 1:-1, :-2], np.s_[:], np.s_[:, ::-1],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing(index: Any) -> None:
    check(
        lambda net, x: x[index],
        lambda x: torch.from_numpy(np.ascontiguousarray(x.numpy()[index])),
        (3, 5, 6, 7),
    )


def test_indexing_by_a_tensor() -> None:
    net = Network()
    x, places = net.input("x=4x3"), net.input("places:int64=2")
    net.output(x[places], "rows")
    net.output(x[:, places], "columns")
    x_array, p = numbers(4, 3), np.array([2, 0])
    found = net.run({"x": x_array, "places": p})
    np.testing.assert_array_equal(found["rows"], x_array[p])
    np.testing.assert_array_equal(found["columns"], x_array[:, p])


def test_prelu_for_one_and_for_every_channel() -> None:
    for count in (1, 4):
        slope = numbers(count)
        check(
            lambda net, x, s=slope: net.prelu(x, s),
            lambda x, s=slope: F.prelu(x, torch.from_numpy(s)),
            X4,
        )


def statistics(*shape: int) -> list[Array]:
    return [numbers(*shape, seed=seed) for seed in (3, 4, 5)] + [np.abs(numbers(*shape)) + 0.5]


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(affine: bool) -> None:
    scale, bias, mean, var = statistics(4)
    torch_of = torch.from_numpy
    check(
        lambda net, x: net.batch_norm(
            x, scale if affine else None, bias if affine else None, mean, var, epsilon=1e-3
        ),
        lambda x: F.batch_norm(
            x, torch_of(mean), torch_of(var), torch_of(scale) if affine else None,
            torch_of(bias) if affine else None, eps=1e-3,
        ),
        X4,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(7,), (3, 7)], ids=str)
def test_layer_norm(shape: tuple[int, ...]) -> None:
    w, b = numbers(*shape), numbers(*shape, seed=2)
    check(
        lambda net, x: net.layer_norm(x, w, b, epsilon=1e-3),
        lambda x: F.layer_norm(x, shape, torch.from_numpy(w), torch.from_numpy(b), eps=1e-3),
        (2, 4, 3, 7),
    )
    check(
        lambda net, x: net.layer_norm(x, axes=len(shape)),
        lambda x: F.layer_norm(x, shape),
        (2, 4, 3, 7),
    )


def test_group_instance_and_rms_norm() -> None:
    w, b = numbers(4), numbers(4, seed=2)
    wt, bt = torch.from_numpy(w), torch.from_numpy(b)
    for groups in (1, 2, 4):
        check(
            lambda net, x, g=groups: net.group_norm(x, g, w, b),
            lambda x, g=groups: F.group_norm(x, g, wt, bt),
            X4,
        )
    check(lambda net, x: net.group_norm(x, 2), lambda x: F.group_norm(x, 2), (2, 4, 5))
    check(
        lambda net, x: net.instance_norm(x, w, b),
        lambda x: F.instance_norm(x, None, None, wt, bt),
        X4,
    )
    scale = numbers(10)
    check(
        lambda net, x: net.rms_norm(x, scale),
        lambda x: F.rms_norm(x, (10,), torch.from_numpy(scale), 1e-6),
        X4,
    )


def test_embedding() -> None:
    table, words = numbers(9, 3), np.array([[1, 8], [0, 1]])
    net = Network()
    net.output(net.embedding(net.input("words:int64=1..4x2"), table), "rows")
    np.testing.assert_array_equal(net.run(words)["rows"], table[words])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent(kind: str, depth: int, both: bool, batch_first: bool) -> None:
    torch.manual_seed(0)
    module = getattr(nn, kind.upper())(5, 3, depth, bidirectional=both, batch_first=batch_first)
    x = tensor(2, 4, 5)
    batch = 2 if batch_first else 4
    states = [tensor(depth * (1 + both), batch, 3, seed=seed) for seed in (5, 6)]
    for given in (None, states):
        net = Network()
        inputs = net.input("x", "float32", (2, 4, 5))
        if given is None:
            state, start = None, None
        elif kind == "lstm":
            state, start = [s.numpy() for s in given], tuple(given)
        else:
            state, start = given[0].numpy(), given[0]
        out, end = getattr(net, kind)(
            inputs, net.weights(module.state_dict()), state, batch_first=batch_first
        )
        ends = list(end) if kind == "lstm" else [end]
        for index, value in enumerate([out, *ends]):
            net.output(value, f"out{index}")
        with torch.no_grad():
            wanted, last = module(x, start)
        wants = [wanted, *(last if kind == "lstm" else [last])]
        found = net.run(x.numpy())
        for index, want in enumerate(wants):
            np.testing.assert_allclose(found[f"out{index}"], want.numpy(), atol=1e-5)


def test_recurrent_without_biases() -> None:
    module = nn.LSTM(5, 3, bias=False)
    check(
        lambda net, x: net.lstm(x, net.weights(module))[0], lambda x: module(x)[0], (2, 4, 5),
        free=False,
    )  # fmt: skip


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool) -> None:
    shapes = [(2, 3, 4, 8)] * 3
    check(
        lambda net, q, k, v: net.attention(q, k, v, causal=causal),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        *shapes,
    )


def test_causal_attention_over_a_free_length() -> None:
    net = Network()
    x = net.input("x=1x1..x8")
    net.output(net.attention(x, x, x, causal=True), "y")
    for length in (1, 5):
        array = numbers(1, length, 8)
        t = torch.from_numpy(array)
        want = F.scaled_dot_product_attention(t, t, t, is_causal=True)
        np.testing.assert_allclose(net.run(array)["y"], want.numpy(), atol=1e-5)


def test_attention_with_masks() -> None:
    truth = np.tril(np.ones((4, 4), bool))
    added = numbers(4, 4)
    for mask in (truth, added):
        check(
            lambda net, q, k, v, m=mask: net.attention(q, k, v, m, scale=0.3),
            lambda q, k, v, m=mask: F.scaled_dot_product_attention(
                q, k, v, torch.from_numpy(m), scale=0.3
            ),
            *[(2, 3, 4, 8)] * 3,
        )


def test_multi_head_attention() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    check(
        lambda net, x: net.multi_head_attention(x, net.weights(module), 2),
        lambda x: module(x, x, x, need_weights=False)[0],
        (2, 5, 8),
    )


@pytest.mark.parametrize("opset", [18, 19, 21, 22, 23])
def test_layers_hold_in_other_opsets(opset: int) -> None:
    w = numbers(4)
    check(
        lambda net, x: net.resize(
            net.gelu(net.group_norm(net.avg_pool2d(x, 3, 2, 1), 2, w)), (7, 3)
        ),
        lambda x: F.interpolate(
            F.gelu(F.group_norm(F.avg_pool2d(x, 3, 2, 1), 2, torch.from_numpy(w))), (7, 3)
        ),
        X4,
        opset=opset,
    )


def test_free_sizes_keep_their_names() -> None:
    net = Network()
    x = net.input("x", "float32", ("n", 3, "h", "w"))
    y = net.conv2d(x, numbers(4, 3, 3, 3), padding=1)
    assert y.shape == ("n", 4, "h", "w")
    assert net.max_pool2d(y, 3, 1, 1).shape == ("n", 4, "h", "w")
    assert net.relu(y)[:, 1:3].shape == ("n", 2, "h", "w")
    assert net.conv2d(y, numbers(4, 4, 3, 3), stride=2).shape == ("n", 4, None, None)
    assert y.reshape("n", 4, -1).shape[:2] == ("n", 4)
    assert net.transpose(y, (0, 2, 3, 1)).shape == ("n", "h", "w", 4)
    assert net.resize(y, (5, 6)).shape == ("n", 4, 5, 6)


REFUSED: dict[str, tuple[Layer, str]] = {
    "channels": (
        lambda n, x: n.conv2d(x, numbers(128, 32, 3, 3)),
        "conv2d: the input has 64 channels, the weight of shape [128, 32, 3, 3] expects 32",
    ),
    "groups": (lambda n, x: n.conv2d(x, numbers(6, 64, 3, 3), groups=3), "64 channels cannot be"),
    "bias": (
        lambda n, x: n.conv2d(x, numbers(6, 64, 3, 3), numbers(5)),
        "the bias has shape [5], and there are 6 outputs",
    ),
    "rank": (lambda n, x: n.conv1d(x, numbers(6, 64, 3)), "Expected 3 dimensions"),
    "weight rank": (lambda n, x: n.conv2d(x, numbers(6, 64)), "the weight has shape [6, 64]"),
    "window": (lambda n, x: n.max_pool2d(x, 99), "a window of [99, 99] does not fit into [8, 8]"),
    "stride": (lambda n, x: n.max_pool2d(x, 2, (1, 2, 3)), "the stride is (1, 2, 3)"),
    "stride 0": (lambda n, x: n.max_pool2d(x, 2, 0), "Expected a number from 1 on"),
    "padding": (lambda n, x: n.conv2d(x, numbers(6, 64, 3, 3), padding="sme"), "'sme'"),
    "padding below 0": (lambda n, x: n.conv2d(x, numbers(6, 64, 3, 3), padding=-1), "-1"),
    "no weight": (lambda n, x: n.conv2d(x, None), "there is no weight"),
    "transposed": (
        lambda n, x: n.conv_transpose2d(x, numbers(3, 64, 2, 2)),
        "has its inputs first",
    ),
    "features": (lambda n, x: n.linear(x, numbers(3, 5)), "the input has 8 features"),
    "norm": (lambda n, x: n.batch_norm(x, *statistics(5)), "64 channels, the weight has shape [5]"),
    "no statistics": (lambda n, x: n.batch_norm(x, numbers(64)), "no mean and variance"),
    "layer norm": (lambda n, x: n.layer_norm(x, numbers(7)), "ends in [8], the weight has"),
    "group norm": (lambda n, x: n.group_norm(x, 7), "64 channels cannot be divided into 7 groups"),
    "adaptive": (lambda n, x: n.adaptive_avg_pool2d(x, 3), "no multiples of [3, 3]"),
    "concat": (lambda n, x: n.concat([x, x[:, :, 1:]]), "differ beside axis 1"),
    "split": (lambda n, x: n.split(x, 7), "has no 7 equal parts"),
    "split sizes": (lambda n, x: n.split(x, [3, 4]), "parts of [3, 4] are 7"),
    "pad": (lambda n, x: n.pad(x, {4: (1, 1)}), "axis 4 is padded"),
    "resize": (lambda n, x: n.resize(x), "either a size or a scale"),
    "resize mode": (lambda n, x: n.resize(x, (2, 2), mode="area"), "the mode is 'area'"),
    "topk": (lambda n, x: n.topk(x, 9), "has no 9 elements"),
    "axis": (lambda n, x: n.mean(x, 4), "has no axis 4"),
    "transpose": (lambda n, x: n.transpose(x, (0, 1)), "each of 0 to 3 once"),
    "reshape": (lambda n, x: n.reshape(x, (5, -1)), "reshape: the shape"),
    "name": (lambda n, x: n.reshape(x, ("m", -1)), "no input has a size named 'm'"),
    "broadcast": (lambda n, x: x + numbers(3, 1, 1), "x + y: the shapes [1, 64, 8, 8] and [3, 1, 1]"),
    "product": (lambda n, x: x @ numbers(3, 4), "x @ y: the shapes [1, 64, 8, 8], [3, 4] do not fit"),
    "types": (lambda n, x: x + x.cast("int64"), "these are float32 and int64"),
    "fraction": (lambda n, x: x.cast("int64") + 1.5, "1.5 does not go with int64"),
    "whole division": (lambda n, x: x.cast("int64") / 2, "cuts off in ONNX"),
    "cast": (lambda n, x: x.cast("float31"), "Perhaps you meant"),
    "index": (lambda n, x: x[:, 64], "the index 64 is outside axis 1"),
    "indices": (lambda n, x: x[0, 0, 0, 0, 0], "there are 5 indices"),
    "real index": (lambda n, x: x[:, [0.5]], "the index is float"),
    "embedding": (lambda n, x: n.embedding(x, numbers(3, 4)), "the indices are float32"),
    "clip": (lambda n, x: n.clip(x), "neither a minimum nor a maximum"),
    "attention": (lambda n, x: n.attention(x, x[..., :4], x), "equal features"),
    "object": (lambda n, x: n.relu(object()), "is no tensor, array or number"),
    "none": (lambda n, x: n.flatten(None), "None was given for a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_layer_the_sizes_and_the_line(name: str) -> None:
    layer, words = REFUSED[name]
    net = Network("wrong")
    x = net.input("x=1x64x8x8")
    with pytest.raises(UsageError) as raised:
        layer(net, x)
    assert words in str(raised.value)
    assert "(test_network_layers.py:" in str(raised.value)
    assert raised.value.__cause__ is None
    net.output(net.relu(x), "y")
    assert operator_counts(net.build(prune=True)) == {"Relu": 1}, "what failed is undone"
    assert not net.build(prune=True).graph.initializers


def test_what_minus_one_stands_for_is_known() -> None:
    net = Network()
    x = net.input("x", "float32", ("n", 4, 6, "k"))
    assert x.reshape("n", -1, "k").shape == ("n", 24, "k")
    assert x.reshape(0, 0, -1).shape == ("n", 4, None)
    assert x.reshape(0, 2, -1, x.shape[3]).shape == ("n", 2, 12, "k")
    assert net.flatten(x, 2).shape == ("n", 4, None)
    assert net.flatten(x[..., 0]).shape == ("n", 24)

"""Runs an ML program with torch, as a check of what coremltools wrote: Core ML itself is on macOS alone.

    python ml_program.py PACKAGE.zip FEEDS.npz OUTPUTS.npz

It reads the packed file, weights and all, and knows the operators of the conformance networks. It runs in the
environment of the engine, which has coremltools.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from torch.nn import functional as F

OPERATORS: dict[str, Callable[..., Any]] = {}


def operator(function: Callable[..., Any]) -> Callable[..., Any]:
    OPERATORS[function.__name__] = function
    return function


@operator
def cast(x: Any, dtype: str) -> Any:
    return x  # everything is computed in float32: what float16 rounds is not the question here


@operator
def conv(x: Any, weight: Any, bias: Any = None, **k: Any) -> Any:
    assert k["pad_type"] in ("valid", "custom"), k["pad_type"]
    if k["pad_type"] == "custom":
        x = F.pad(x, _pads(k["pad"]))
    strides, dilations = (_ints(k[name]) for name in ("strides", "dilations"))
    return F.conv2d(x, weight, bias, strides, 0, dilations, int(k["groups"]))


@operator
def max_pool(x: Any, **k: Any) -> Any:
    assert not k["ceil_mode"]
    x = F.pad(x, _pads(k["pad"]), value=-torch.inf)
    return F.max_pool2d(x, _ints(k["kernel_sizes"]), _ints(k["strides"]))


@operator
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    return F.linear(x, weight, bias)


@operator
def matmul(x: Any, y: Any, transpose_x: Any, transpose_y: Any) -> Any:
    x = x.transpose(-1, -2) if transpose_x else x
    return x @ (y.transpose(-1, -2) if transpose_y else y)


@operator
def layer_norm(x: Any, axes: Any, gamma: Any, beta: Any, epsilon: Any) -> Any:
    shape = [x.shape[axis] for axis in _ints(axes)]
    return F.layer_norm(x, shape, gamma, beta, float(epsilon))


@operator
def gelu(x: Any, mode: str) -> Any:
    assert mode == "EXACT"
    return F.gelu(x)


@operator
def sigmoid_hard(x: Any, alpha: Any, beta: Any) -> Any:
    return (float(alpha) * x + float(beta)).clamp(0, 1)


@operator
def thresholded_relu(x: Any, alpha: Any) -> Any:
    return torch.where(x >= float(alpha), x, torch.zeros(()))


@operator
def upsample_nearest_neighbor(x: Any, scale_factor_height: Any, scale_factor_width: Any) -> Any:
    scales = (float(scale_factor_height), float(scale_factor_width))
    return F.interpolate(x, scale_factor=scales, mode="nearest")


@operator
def split(x: Any, axis: Any, split_sizes: Any = None, num_splits: Any = None) -> Any:
    if split_sizes is None:
        return x.chunk(int(num_splits), int(axis))
    return x.split(_ints(split_sizes), int(axis))


@operator
def slice_by_index(x: Any, begin: Any, end: Any, **k: Any) -> Any:
    places: list[Any] = []
    flags = [k.get(name) for name in ("begin_mask", "end_mask", "squeeze_mask")]
    for axis, (start, stop) in enumerate(zip(_ints(begin), _ints(end), strict=True)):
        whole, open_end, alone = (bool(f[axis]) if f is not None else False for f in flags)
        rest = slice(None if whole else start, None if open_end else stop)
        places.append(start if alone else rest)
    return x[tuple(places)]


OPERATORS.update(
    add=lambda x, y: x + y,
    mul=lambda x, y: x * y,
    relu=lambda x: F.relu(x),
    silu=lambda x: F.silu(x),
    sigmoid=lambda x: x.sigmoid(),
    identity=lambda x: x,
    softmax=lambda x, axis: x.softmax(int(axis)),
    concat=lambda values, axis, interleave: torch.cat(values, int(axis)),
    reshape=lambda x, shape: x.reshape(_ints(shape)),
    squeeze=lambda x, axes: x.squeeze(tuple(_ints(axes))),
    transpose=lambda x, perm: x.permute(_ints(perm)),
    reduce_mean=lambda x, axes, keep_dims: x.mean(_ints(axes), bool(keep_dims)),
    reduce_sum=lambda x, axes, keep_dims: x.sum(_ints(axes), bool(keep_dims)),
)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in np.asarray(values).reshape(-1)]


def _pads(values: Any) -> list[int]:
    top, bottom, left, right = _ints(values)
    return [left, right, top, bottom]


def main(package: str, feeds: str, outputs: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(package) as packed:
            packed.extractall(folder)
        (place,) = Path(folder).glob("*.mlpackage")
        spec = ct.utils.load_spec(str(place))
        weights = place / "Data" / "com.apple.CoreML" / "weights"
        program = load(spec, spec.specificationVersion, file_weights_dir=str(weights))
    function = program.functions["main"]
    with np.load(feeds) as given:
        values = {name: torch.from_numpy(given[name]) for name in function.inputs}
    for step in function.operations:
        if step.op_type != "const":
            _run(step, values)
    found = {var.name: values[var.name].numpy() for var in function.outputs}
    np.savez(outputs, **found)


def _run(step: Any, values: dict[str, Any]) -> None:
    results = OPERATORS[step.op_type](**{k: _value(v, values) for k, v in step.inputs.items()})
    results = results if isinstance(results, (list, tuple)) else [results]
    for var, result in zip(step.outputs, results, strict=True):
        assert tuple(result.shape) == tuple(var.shape), (step.op_type, result.shape, var.shape)
        values[var.name] = result


def _value(var: Any, values: dict[str, Any]) -> Any:
    if isinstance(var, (list, tuple)):
        return [_value(each, values) for each in var]
    if var is None or var.val is None:
        return None if var is None else values[var.name]
    if isinstance(var.val, np.ndarray) and var.val.dtype.kind == "f":
        return torch.from_numpy(var.val.astype(np.float32))
    return var.val


if __name__ == "__main__":
    main(*sys.argv[1:])

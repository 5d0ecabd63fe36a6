"""Convolutions and pooling: what slides over a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.engines.caffe.net import CannotExpressError, Net
from modelport.graph.query import constant_of
from modelport.passes.matching import input_of
from modelport.types import Array

if TYPE_CHECKING:
    import onnx_ir as ir

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """What slides over height and width.

    Attributes:
        begin, end: padding before and behind.
    """

    kernel: Pair
    stride: Pair
    begin: Pair
    end: Pair
    dilation: Pair


def window_of(node: ir.Node, net: Net, kernel: Sequence[int], *, up: bool = False) -> Window:
    """Reads the attributes that convolutions and poolings share.

    Args:
        up: whether it enlarges, as ConvTranspose does.
    """
    if len(kernel) != 2:
        raise CannotExpressError(
            f"it slides over {len(kernel)} dimensions, and Caffe's slide over two"
        )
    stride = _pair(node, "strides", 1)
    dilation = _pair(node, "dilations", 1)
    pads = list(node.attributes.get_ints("pads", [0, 0, 0, 0]) or [0, 0, 0, 0])
    mode = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    if mode.startswith("SAME"):
        if up:
            raise CannotExpressError(f"auto_pad {mode}")
        pads = _same_pads(net.shape(node.inputs[0])[2:], kernel, stride, dilation, mode)
    elif mode == "VALID":
        pads = [0, 0, 0, 0]
    if min(pads) < 0:
        raise CannotExpressError(f"pads {pads} below zero")
    return Window((kernel[0], kernel[1]), stride, (pads[0], pads[1]), (pads[2], pads[3]), dilation)


def _pair(node: ir.Node, name: str, default: int) -> Pair:
    values = node.attributes.get_ints(name, None)
    if values is None:
        return default, default
    if len(values) != 2:
        raise CannotExpressError(
            f"it has {name} {list(values)}, and Caffe's are for two dimensions"
        )
    return values[0], values[1]


def _same_pads(
    sizes: Sequence[int], kernel: Sequence[int], stride: Pair, dilation: Pair, mode: str
) -> list[int]:
    begin, end = [], []
    for size, width, step, apart in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((math.ceil(size / step) - 1) * step + (width - 1) * apart + 1 - size, 0)
        small = total // 2
        begin.append(total - small if mode == "SAME_LOWER" else small)
        end.append(total - begin[-1])
    return [*begin, *end]


# --- convolutions -------------------------------------------------------------------------------


def conv(node: ir.Node, net: Net) -> None:
    weight, bias = _weights(node)
    window = window_of(node, net, weight.shape[2:])
    window, weight = _evenly_padded(window, weight)
    settings = {
        "num_output": weight.shape[0],
        **_convolution(window, bias is not None, node.attributes.get_int("group", 1) or 1),
    }
    _add(node, net, "Convolution", settings, weight, bias)


def conv_transpose(node: ir.Node, net: Net) -> None:
    """Caffe crops alike on all sides and adds nothing behind: zeros in the kernel do both instead."""
    weight, bias = _weights(node)
    window = window_of(node, net, weight.shape[2:], up=True)
    if window.dilation != (1, 1):
        raise CannotExpressError("Caffe's Deconvolution has no dilation that all readers know")
    if node.attributes.get_ints("output_shape", None):
        raise CannotExpressError("its output_shape may ask for padding that is not known")
    more = _pair(node, "output_padding", 0)
    zeros, pads = [(0, 0), (0, 0)], []
    for begin, end, extra in zip(window.begin, window.end, more, strict=True):
        ahead = max(0, end - extra - begin)
        zeros.append((ahead, begin + ahead + extra - end))
        pads.append(begin + ahead)
    grown = np.pad(weight, zeros)
    group = node.attributes.get_int("group", 1) or 1
    kernel = (grown.shape[2], grown.shape[3])
    even = Window(kernel, window.stride, (pads[0], pads[1]), (pads[0], pads[1]), (1, 1))
    settings = {
        "num_output": weight.shape[1] * group, **_convolution(even, bias is not None, group),
    }  # fmt: skip
    _add(node, net, "Deconvolution", settings, grown, bias)


def _weights(node: ir.Node) -> tuple[Array, Array | None]:
    weight, bias = constant_of(input_of(node, 1)), input_of(node, 2)
    if weight is None or (bias is not None and constant_of(bias) is None):
        raise CannotExpressError("its weights are computed, and Caffe's are constants")
    return weight, constant_of(bias)


def _evenly_padded(window: Window, weight: Array) -> tuple[Window, Array]:
    """Caffe pads both sides alike: zeros at one side of the kernel make up for the difference."""
    if window.begin == window.end:
        return window, weight
    zeros, pads = [(0, 0), (0, 0)], []
    for begin, end, apart in zip(window.begin, window.end, window.dilation, strict=True):
        pad = max(begin, end)
        if (pad - begin) % apart or (pad - end) % apart:
            raise CannotExpressError("it pads one side more, by no multiple of its dilation")
        zeros.append(((pad - begin) // apart, (pad - end) // apart))
        pads.append(pad)
    grown = np.pad(weight, zeros)
    even = (pads[0], pads[1])
    kernel = (grown.shape[2], grown.shape[3])
    return Window(kernel, window.stride, even, even, window.dilation), grown


def _convolution(window: Window, bias: bool, group: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"bias_term": bias}
    settings |= _sizes("kernel_size", "kernel", window.kernel)
    if window.stride != (1, 1):
        settings |= _sizes("stride", "stride", window.stride)
    if window.begin != (0, 0):
        settings |= _sizes("pad", "pad", window.begin)
    if window.dilation != (1, 1):
        settings["dilation"] = list(window.dilation)
    if group != 1:
        settings["group"] = group
    return settings


def _sizes(one: str, two: str, pair: Pair) -> dict[str, Any]:
    if pair[0] == pair[1]:
        return {one: [pair[0]]}
    return {f"{two}_h": pair[0], f"{two}_w": pair[1]}


def _add(
    node: ir.Node, net: Net, kind: str, settings: dict[str, Any], weight: Array, bias: Array | None
) -> None:
    blobs = [weight] if bias is None else [weight, bias.reshape(-1)]
    top = node.outputs[0].name
    net.add(kind, [net.blob(node.inputs[0])], {"convolution_param": settings}, blobs, top=top)


def depthwise(
    net: Net, kind: str, bottom: str, weight: Array, window: Window, top: str | None
) -> str:
    """A convolution of each channel alone, without bias."""
    channels = len(weight)
    settings = {"num_output": channels, **_convolution(window, False, channels)}
    return net.add(kind, [bottom], {"convolution_param": settings}, [weight], top=top)


def pad(node: ir.Node, net: Net) -> None:
    """Zeros around a picture: a convolution of each channel with a single 1."""
    before, after = net.shape(node.inputs[0]), net.shape(node.outputs[0])
    pads, value = constant_of(input_of(node, 1)), constant_of(input_of(node, 2))
    mode = node.attributes.get_string("mode", "constant")
    zero = value is None or not value.any()
    if mode != "constant" or not zero or pads is None or input_of(node, 3) is not None:
        raise CannotExpressError("Caffe pads with zeros alone")
    if len(before) != 4 or before[:2] != after[:2] or (pads < 0).any():
        raise CannotExpressError("Caffe pads height and width alone")
    begin, end = (int(pads[2]), int(pads[3])), (int(pads[6]), int(pads[7]))
    one = np.ones((before[1], 1, 1, 1), np.float32)
    window, weight = _evenly_padded(Window((1, 1), (1, 1), begin, end, (1, 1)), one)
    bottom = net.blob(node.inputs[0])
    depthwise(net, "Convolution", bottom, weight, window, node.outputs[0].name)


# --- pooling ------------------------------------------------------------------------------------


def max_pool(node: ir.Node, net: Net) -> None:
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise CannotExpressError("where the largest values stood is read")
    _pool(node, net, "MAX")


def average_pool(node: ir.Node, net: Net) -> None:
    get = node.attributes.get_int
    if get("ceil_mode", 0) and get("count_include_pad", 0):
        raise CannotExpressError("what it counts at the border depends on the opset")
    _pool(node, net, "AVE")


def _pool(node: ir.Node, net: Net, method: str) -> None:
    kernel = node.attributes.get_ints("kernel_shape", []) or []
    window = window_of(node, net, list(kernel))
    if window.dilation != (1, 1):
        raise CannotExpressError("Caffe's Pooling has no dilation")
    if any(pad >= width for pad, width in zip(window.begin, window.kernel, strict=True)):
        raise CannotExpressError("it pads as much as its kernel is wide, which Caffe refuses")
    before, after = net.shape(node.inputs[0])[2:], net.shape(node.outputs[0])[2:]
    made = [_caffe_size(axis, before, window) for axis in (0, 1)]
    if made[0] < after[0] or made[1] < after[1]:
        raise CannotExpressError("it pads more behind than before, and Caffe alike")
    settings = {"pool": method, "kernel_h": window.kernel[0], "kernel_w": window.kernel[1],
                "stride_h": window.stride[0], "stride_w": window.stride[1],
                "pad_h": window.begin[0], "pad_w": window.begin[1]}  # fmt: skip
    steps: list[Any] = []
    blob = net.add("Pooling", [net.blob(node.inputs[0])], {"pooling_param": settings})
    # Caffe rounds the number of windows up: what ONNX does not have is cut off.
    for axis in (0, 1):
        blob = net.crop(blob, made[axis], axis + 2, 0, after[axis])
    steps = [_counted(axis, before, after, window, node) for axis in (0, 1)]
    if method == "AVE" and any((ratio != 1).any() for ratio in steps):
        ratios = np.outer(*steps)
        blob = net.add("Scale", [blob], {"scale_param": {"axis": 2, "num_axes": 2}}, [ratios])
    net.give(node.outputs[0], blob)


def _caffe_size(axis: int, before: Sequence[int], window: Window) -> int:
    """How many windows Caffe has: rounded up, but none that begins in the padding behind."""
    size, pad, stride = before[axis], window.begin[axis], window.stride[axis]
    count = math.ceil((size + 2 * pad - window.kernel[axis]) / stride) + 1
    if window.begin != (0, 0) and (count - 1) * stride >= size + pad:
        count -= 1
    return count


def _counted(
    axis: int, before: Sequence[int], after: Sequence[int], window: Window, node: ir.Node
) -> Array:
    """For each window how many places Caffe divides by, over how many ONNX does."""
    size, pad, width = before[axis], window.begin[axis], window.kernel[axis]
    start = np.arange(after[axis]) * window.stride[axis] - pad
    caffe = np.minimum(start + width, size + pad) - start
    if node.attributes.get_int("count_include_pad", 0):
        wanted = np.minimum(start + width, size + window.end[axis]) - start
    else:
        wanted = np.minimum(start + width, size) - np.maximum(start, 0)
    ratio: Array = caffe / wanted
    return ratio


def global_pool(method: str) -> Any:
    def write(node: ir.Node, net: Net) -> None:
        if len(net.shape(node.inputs[0])) != 4:
            raise CannotExpressError("Caffe pools over height and width alone")
        settings = {"pooling_param": {"pool": method, "global_pooling": True}}
        bottom = net.blob(node.inputs[0])
        net.add("Pooling", [bottom], settings, top=node.outputs[0].name)

    return write


# --- pictures made larger or smaller ------------------------------------------------------------


def resize(node: ir.Node, net: Net) -> None:
    """To nearest pixels, by whole factors: a deconvolution of each channel with ones."""
    before, after = net.shape(node.inputs[0]), net.shape(node.outputs[0])
    mode = node.attributes.get_string("mode", "nearest")
    if mode != "nearest":
        raise CannotExpressError(f"Caffe has no layer that resizes by mode {mode} in the same way")
    if len(before) != 4 or before[:2] != after[:2]:
        raise CannotExpressError("Caffe resizes height and width alone")
    factors = (after[2] // before[2], after[3] // before[3])
    scales = constant_of(input_of(node, 2))
    for axis in (2, 3):
        scale = after[axis] / before[axis] if scales is None or not scales.size else scales[axis]
        if not _repeats(before[axis], after[axis], float(scale), node):
            raise CannotExpressError(
                f"it makes {after[axis]} of {before[axis]}, and not each pixel as often as the others"
            )
    window = Window(factors, factors, (0, 0), (0, 0), (1, 1))
    ones = np.ones((before[1], 1, *factors), np.float32)
    bottom = net.blob(node.inputs[0])
    depthwise(net, "Deconvolution", bottom, ones, window, node.outputs[0].name)


def _repeats(before: int, after: int, scale: float, node: ir.Node) -> bool:
    """Whether every pixel comes out after // before times, asked of ONNX's own formulas."""
    get = node.attributes.get_string
    mode = get("coordinate_transformation_mode", "half_pixel")
    places = np.arange(after, dtype=np.float64)
    if mode in ("half_pixel", "half_pixel_symmetric") or (
        mode == "pytorch_half_pixel" and after > 1
    ):
        source = (places + 0.5) / scale - 0.5
    elif mode == "asymmetric":
        source = places / scale
    elif mode == "align_corners":
        source = places * (before - 1) / max(after - 1, 1)
    else:
        return False
    rounding = {
        "round_prefer_floor": np.ceil(source - 0.5),
        "round_prefer_ceil": np.floor(source + 0.5),
        "floor": np.floor(source),
        "ceil": np.ceil(source),
    }[get("nearest_mode", "round_prefer_floor") or "round_prefer_floor"]
    taken = np.clip(rounding, 0, before - 1)
    return after % before == 0 and bool((taken == places // (after // before)).all())


def depth_to_space(node: ir.Node, net: Net) -> None:
    """A deconvolution whose kernels each put one channel in its place."""
    block = node.attributes.get_int("blocksize", 1) or 1
    channels, made = net.shape(node.inputs[0])[1], net.shape(node.outputs[0])[1]
    weight = np.zeros((channels, made, block, block), np.float32)
    for down in range(block):
        for along in range(block):
            for channel in range(made):
                source = (
                    (down * block + along) * made + channel
                    if node.attributes.get_string("mode", "DCR") == "DCR"
                    else (channel * block + down) * block + along
                )
                weight[source, channel, down, along] = 1
    _rearrange(node, net, "Deconvolution", weight, block, made)


def space_to_depth(node: ir.Node, net: Net) -> None:
    """A convolution whose kernels each take one place."""
    block = node.attributes.get_int("blocksize", 1) or 1
    channels = net.shape(node.inputs[0])[1]
    weight = np.zeros((channels * block * block, channels, block, block), np.float32)
    for down in range(block):
        for along in range(block):
            for channel in range(channels):
                weight[(down * block + along) * channels + channel, channel, down, along] = 1
    _rearrange(node, net, "Convolution", weight, block, len(weight))


def _rearrange(node: ir.Node, net: Net, kind: str, weight: Array, block: int, made: int) -> None:
    window = Window((block, block), (block, block), (0, 0), (0, 0), (1, 1))
    settings = {"num_output": made, **_convolution(window, False, 1)}
    _add(node, net, kind, settings, weight, None)

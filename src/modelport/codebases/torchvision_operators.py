"""Imports torchvision where its compiled operators do not load, and puts ours in their place.

The registry's wheel of torchvision is built for CUDA. Beside a torch without CUDA it stops with
"operator torchvision::nms does not exist": it describes operators that its library was to define.
With the missing definitions it imports, and with kernels for them its detectors run.

A torchvision that loads its own operators is left alone.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

import torch

from modelport.codebases import torchvision_kernels as kernels
from modelport.codebases.installed import is_installed

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": (
        "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
        "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
    ),
    "deform_conv2d": (
        "(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
        "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
        "SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor"
    ),
}
"""torchvision's own, so that exporters find the operators they know."""

IMPORTED_WITHOUT_KERNELS = ("nms", "qnms")
"""What torchvision describes whether or not its library is there."""

_KERNELS = {
    "nms": kernels.nms,
    "roi_align": kernels.roi_align,
    "deform_conv2d": kernels.deform_conv2d,
}
_SHAPES = {
    "roi_align": kernels.roi_align_shape,
    "deform_conv2d": kernels.deform_conv2d_shape,
}
_USERS = ("boxes", "roi_align", "deform_conv")
"""The modules below `torchvision.ops` that call these operators."""


def import_torchvision() -> Any:
    """torchvision, usable; or None where it is not installed.

    Raises:
        Exception: whatever the import raises where operators are not the reason.
    """
    if not is_installed("torchvision"):
        return None
    try:
        found = importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in IMPORTED_WITHOUT_KERNELS:
            _define(name)
        found = importlib.import_module("torchvision")
    if not found.extension._has_ops():
        supply()
    return found


@cache
def supply() -> None:
    """Defines and implements what is missing, once, and tells torchvision that it is there."""
    for name in SCHEMAS:
        _define(name)
    for name, kernel in _KERNELS.items():
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"torchvision::{name}", "CPU"):
            _library().impl(name, kernel, "CPU")
    for name, shape in _SHAPES.items():
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"torchvision::{name}", "Meta"):
            _library().impl(name, shape, "Meta")
    for user in _USERS:
        # `torchvision.ops.roi_align` is a function of the same name as its module.
        module = sys.modules.get(f"torchvision.ops.{user}")
        if module is not None:
            vars(module).update(_assert_has_ops=_nothing_is_missing, _has_ops=_are_there)


def _define(name: str) -> None:
    if not hasattr(torch.ops.torchvision, name):
        _library().define(name + SCHEMAS[name])


@cache
def _library() -> Any:
    """Definitions last as long as this object."""
    library: Any = torch.library.Library
    return library("torchvision", "FRAGMENT")


# TorchScript compiles the two functions together with their callers, so they are no lambdas.


def _nothing_is_missing() -> None:
    return None


def _are_there() -> bool:
    return True

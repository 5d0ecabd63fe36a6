"""Quantizes a graph with NNCF, behind a Scheme: a graph in, a graph with Quantize/Dequantize pairs out."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir

from modelport.errors import EngineUnavailableError, QuantizationError
from modelport.graph import provenance
from modelport.graph.io import from_proto, to_proto
from modelport.graph.query import is_depthwise, signature_of
from modelport.passes import PASSES
from modelport.quantize.float8 import float8
from modelport.quantize.schemes import Scheme
from modelport.types import Feeds

LEAST_SAMPLES = 4
"""Fewer leave most ranges to chance."""

TIDYING = ("infer_shapes", "fold_smoothing", "remove_unused")
"""Passes over what NNCF leaves: SmoothQuant's products, of which most can be part of what is before them."""


def available() -> str | None:
    """Why NNCF cannot be used here, or None where it can."""
    from importlib.util import find_spec

    if find_spec("nncf") is None:
        return 'nncf is not installed: pip install "modelport[quantize]"'
    return None


def quantize(model: ir.Model, scheme: Scheme, feeds: Sequence[Feeds]) -> ir.Model:
    """A quantized copy of the model.

    Args:
        feeds: calibration feeds; the ranges of activations come from them.

    Raises:
        QuantizationError: where there are too few feeds, nothing to quantize, or NNCF fails.
    """
    reason = available()
    if reason is not None:
        raise EngineUnavailableError(f"The scheme {scheme.name} cannot be used here: {reason}")
    if len(feeds) < LEAST_SAMPLES:
        raise QuantizationError(
            f"Calibration has {len(feeds)} samples",
            expected=f"at least {LEAST_SAMPLES}, better 100 or more",
            hint="Point --calibration at a folder with more of what the model will see",
        )
    keep = _names_kept(model, scheme)
    try:
        with _silenced():
            proto = _run_nncf(to_proto(model), scheme, feeds, keep)
    except Exception as error:
        raise QuantizationError(
            f"NNCF could not apply the scheme {scheme.name} ({' '.join(str(error).split())[:240]})",
            hint="Deploy with --precisions fp32,bf16, or report the model to modelport",
        ) from error
    made = _finished(from_proto(proto), model)
    for step in TIDYING:
        PASSES.get(step).apply(made)
    return float8(made, model) if scheme.precision == "fp8" else made


def _run_nncf(proto: Any, scheme: Scheme, feeds: Sequence[Feeds], keep: list[str]) -> Any:
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedSmoothQuantParameters,
        QuantizationParameters,
    )

    presets = {
        "asymmetric": nncf.QuantizationPreset.MIXED,
        "symmetric": nncf.QuantizationPreset.PERFORMANCE,
    }
    no_smoothing = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    # The kind of model spares what attention computes, and turns SmoothQuant on (Xiao et al.,
    # arXiv:2211.10438); where there is no attention, it changes little.
    return nncf.quantize(
        proto,
        nncf.Dataset([dict(feed) for feed in feeds]),
        preset=presets[scheme.zero_point],
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(feeds),
        ignored_scope=nncf.IgnoredScope(names=keep) if keep else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            disable_bias_correction=not scheme.bias_correction,
            **({} if scheme.smooth else {"smooth_quant_alphas": no_smoothing}),
            weights_quantization_params=QuantizationParameters(
                per_channel=scheme.weights == "per_channel"
            ),
            activations_quantization_params=QuantizationParameters(
                per_channel=scheme.activations == "per_channel"
            ),
        ),
    )


def _names_kept(model: ir.Model, scheme: Scheme) -> list[str]:
    if "depthwise" not in scheme.keep_float:
        return []
    return [node.name or "" for node in model.graph if is_depthwise(node)]


def applies(model: ir.Model, scheme: Scheme) -> str | None:
    """Why the scheme would add nothing for this model, or None."""
    if scheme.keep_float and not _names_kept(model, scheme):
        return f"the model has no {' or '.join(scheme.keep_float)} convolutions to keep in float"
    return None


def _finished(quantized: ir.Model, original: ir.Model) -> ir.Model:
    """Gives the provenance back that NNCF's rewriting drops, and checks the signature."""
    known = {node.name: node for node in original.graph.all_nodes()}
    for node in quantized.graph.all_nodes():
        source = known.get(node.name)
        if source is not None:
            node.metadata_props.update(source.metadata_props)
    nodes = list(quantized.graph.all_nodes())
    for node in [*reversed(nodes), *nodes]:  # a pair hears of its reader first, else of its feeder
        if provenance.MODULE not in node.metadata_props:
            provenance.inherit(node, _neighbours(node))
    if not any(node.op_type == "QuantizeLinear" for node in quantized.graph.all_nodes()):
        raise QuantizationError(
            "NNCF found nothing to quantize in this model",
            expected="convolutions or matrix products with constant weights",
        )
    if signature_of(quantized) != signature_of(original):
        raise QuantizationError("NNCF changed the signature of the model")
    return quantized


def _neighbours(node: ir.Node) -> list[ir.Node]:
    """What a Quantize/Dequantize pair belongs to: the node that reads it, else the one that feeds it."""
    readers = [reader for value in node.outputs for reader in value.consumers()]
    feeders = [value.producer() for value in node.inputs if value is not None]
    found = [*readers, *(feeder for feeder in feeders if feeder is not None)]
    return [other for other in found if provenance.MODULE in other.metadata_props][:1]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps NNCF from sending usage data and from printing as it works."""
    logger = logging.getLogger("nncf")
    level = logger.level
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            _import_without_telemetry()
            logger.setLevel(logging.ERROR)
            yield
    finally:
        logger.setLevel(level)


def _import_without_telemetry() -> None:
    """NNCF sends usage data wherever the package openvino_telemetry can be imported with it."""
    if "nncf" in sys.modules:
        return
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # makes importing it fail
    try:
        import nncf  # noqa: F401
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before

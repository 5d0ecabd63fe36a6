"""Rewrites: what is replaced while exporting, before there is a graph."""

from __future__ import annotations

from modelport.frontends.rewrites.apply import Applied, applied
from modelport.frontends.rewrites.base import (
    EXPORTERS,
    FunctionRewrite,
    ModuleRewrite,
    OperatorRewrite,
    Rewrite,
)
from modelport.frontends.rewrites.choose import all_status
from modelport.frontends.rewrites.decorators import function, module, operator
from modelport.frontends.rewrites.fired import Fired
from modelport.registry import Registry

__all__ = [
    "EXPORTERS",
    "REWRITES",
    "Applied",
    "Fired",
    "FunctionRewrite",
    "ModuleRewrite",
    "OperatorRewrite",
    "Rewrite",
    "applied",
    "function",
    "module",
    "operator",
    "rows",
]

BUILTINS: dict[str, str] = {
    "pad_circular": "modelport.frontends.rewrites.pad_circular:PadCircular",
    "pool_average": "modelport.frontends.rewrites.pool_average:PoolAverage",
    "adaptive_avg_pool2d": "modelport.frontends.rewrites.pool_adaptive:AverageOf2d",
    "adaptive_avg_pool3d": "modelport.frontends.rewrites.pool_adaptive:AverageOf3d",
    "adaptive_max_pool2d": "modelport.frontends.rewrites.pool_adaptive:MaximumOf2d",
    "adaptive_max_pool3d": "modelport.frontends.rewrites.pool_adaptive:MaximumOf3d",
    "resize_nearest": "modelport.frontends.rewrites.resize_nearest:ResizeNearest",
    "resize_linear_antialias": "modelport.frontends.rewrites.resize_antialias:ResizeLinearAntialias",
    "resize_cubic_antialias": "modelport.frontends.rewrites.resize_antialias:ResizeCubicAntialias",
    "resize_positions": "modelport.frontends.rewrites.resize_positions:ResizePositions",
    "affine_grid": "modelport.frontends.rewrites.sample_grid:AffineGrid",
    "grid_sample_volume": "modelport.frontends.rewrites.sample_grid:SampleVolume",
    "conv3d": "modelport.frontends.rewrites.convolution:Conv3d",
    "deform_conv": "modelport.frontends.rewrites.deform_conv:DeformConv",
    "deform_conv_sampled": "modelport.frontends.rewrites.deform_conv:DeformConvSampled",
    "rrelu": "modelport.frontends.rewrites.activations:RandomLeak",
    "softplus_threshold": "modelport.frontends.rewrites.activations:Softplus",
    "attention_fast_path": "modelport.frontends.rewrites.transformer:FastPath",
    "detect_causal_mask": "modelport.frontends.rewrites.transformer:DetectCausalMask",
    "encoder_padding": "modelport.frontends.rewrites.transformer:EncoderPadding",
    "atan2": "modelport.frontends.rewrites.angle:Atan2",
    "angle": "modelport.frontends.rewrites.angle:Angle",
    "lstm": "modelport.frontends.rewrites.recurrent:Lstm",
    "gru": "modelport.frontends.rewrites.recurrent:Gru",
    "rnn": "modelport.frontends.rewrites.recurrent:Rnn",
    "fourier_of_real": "modelport.frontends.rewrites.fourier:FourierOfReal",
    "fourier_of_complex": "modelport.frontends.rewrites.fourier:FourierOfComplex",
    "fourier_to_real": "modelport.frontends.rewrites.fourier:FourierToReal",
    "complex_unsqueeze": "modelport.frontends.rewrites.complex_numbers:ComplexUnsqueeze",
    "complex_exp": "modelport.frontends.rewrites.complex_numbers:ComplexExp",
    "roll": "modelport.frontends.rewrites.roll:Roll",
    "len": "modelport.frontends.rewrites.length:Length",
    "tensor_split": "modelport.frontends.rewrites.tensor_split:TensorSplit",
    "linspace": "modelport.frontends.rewrites.linspace:Linspace",
    "cumprod": "modelport.frontends.rewrites.scan:CumulativeProduct",
    "cummax": "modelport.frontends.rewrites.scan:CumulativeMaximum",
    "cummin": "modelport.frontends.rewrites.scan:CumulativeMinimum",
    "kthvalue": "modelport.frontends.rewrites.order:KthValue",
    "median": "modelport.frontends.rewrites.order:Median",
    "median_along": "modelport.frontends.rewrites.order:MedianAlong",
    "sort_stable": "modelport.frontends.rewrites.order:SortStable",
    "searchsorted": "modelport.frontends.rewrites.lookup:SearchSorted",
    "is_all_true": "modelport.frontends.rewrites.lookup:AllTrue",
    "isin": "modelport.frontends.rewrites.lookup:IsIn",
    "masked_select": "modelport.frontends.rewrites.lookup:MaskedSelect",
    "embedding_bag": "modelport.frontends.rewrites.lookup:EmbeddingBag",
    "linalg_inv": "modelport.frontends.rewrites.linear_systems:LinalgInverse",
    "inverse": "modelport.frontends.rewrites.linear_systems:Inverse",
    "solve": "modelport.frontends.rewrites.linear_systems:Solve",
    "detection_nms": "modelport.frontends.rewrites.detection_nms:BatchedNms",
    "detection_roi_align": "modelport.frontends.rewrites.detection_roi_align:MultiScaleRoiAlign",
    "detection_masks": "modelport.frontends.rewrites.detection_masks:PasteMasks",
    "detection_keypoints": "modelport.frontends.rewrites.detection_keypoints:HeatmapsToKeypoints",
    "scatter_mean": "modelport.frontends.rewrites.scatter_mean:ScatterMean",
}

REWRITES: Registry[Rewrite] = Registry("rewrite", BUILTINS)


def rows() -> list[dict[str, str]]:
    """One row for each rewrite, for listings."""
    members = [REWRITES.get(name) for name in REWRITES]
    status = all_status(members)
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "target": each.target,
            "scope": each.scope,
            "exporters": ", ".join(each.exporters),
            "needed_by": each.needed_by,
            "summary": each.summary,
            "status": status[each.name],
        }
        for each in members
    ]

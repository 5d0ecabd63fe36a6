"""Components of MMPose."""

from __future__ import annotations

from typing import Any

from modelport.runtime.foreign.mmdeploy.asking import Asked, Found
from modelport.runtime.foreign.poses import skeleton_of

HEATMAPS = (
    "TopdownHeatmapBaseHeadDecode",
    "TopdownHeatmapSimpleHeadDecode",
    "TopdownHeatmapMultiStageHeadDecode",
    "ViPNASHeatmapSimpleHeadDecode",
    "TopdownHeatmapMSMUHeadDecode",
)
"""Names of one component."""

REFINEMENTS = {"default": "quarter", "unbiased": "dark", "null": "none"}
"""By their `post_process`."""

_NOTE = (
    "the whole picture is taken for the one box of a person: give pictures that are cut to one, or "
    "chain it behind a detector as a pipeline"
)


def from_heatmaps(asked: Asked) -> Found:
    fields = asked.fields
    parameters: dict[str, Any] = {"form": "heatmaps", "outputs": (asked.output("output"),)}
    if fields.flag("use_udp", False):
        if fields.text("target_type", "GaussianHeatmap").lower() != "gaussianheatmap":
            raise asked.no_counterpart("target_type", "GaussianHeatmap")
        parameters |= {"udp": True, "refine": "dark_udp"}
    else:
        how = fields.text("post_process", "default")
        if how not in REFINEMENTS:
            raise asked.no_counterpart("post_process", f"one of {', '.join(REFINEMENTS)}")
        refine = "dark" if fields.flag("unbiased_decoding", False) else REFINEMENTS[how]
        parameters["refine"] = refine
    parameters["blur"] = fields.whole("modulate_kernel", 11)
    return _pose(asked, "output", parameters)


def from_simcc(asked: Asked) -> Found:
    """`SimCCLabelDecode` of RTMPose."""
    if asked.fields.flag("export_postprocess", False):
        raise asked.no_counterpart("export_postprocess", "false")
    outputs = (asked.output("simcc_x"), asked.output("simcc_y"))
    split = asked.fields.number("simcc_split_ratio", 2.0)
    return _pose(asked, "simcc_x", {"form": "simcc", "outputs": outputs, "split": split})


def from_numbers(asked: Asked) -> Found:
    """`DeepposeRegressionHeadDecode`: shares of the crop."""
    parameters = {"form": "numbers", "outputs": (asked.output("output"),), "normalised": True}
    return _pose(asked, "output", parameters)


def _pose(asked: Asked, output: str, parameters: dict[str, Any]) -> Found:
    shape = next(spec.shape for spec in asked.signature.outputs if spec.name == output)
    count = shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 17
    parameters["skeleton"] = skeleton_of(count)
    return Found("pose", parameters, has_labels=False, notes=(_NOTE,))

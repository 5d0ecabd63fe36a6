"""Edits of a deployment: they change what the graph takes or gives, and the transforms or the task with it.

A pass keeps results as they are. An edit moves work across the border of the graph: from the transforms
into it, or out of it into the decode step, so that what the predictor answers stays the same.
"""

from modelport.deployment.edits.base import Draft, Edit, Edited
from modelport.registry import Registry

EDITS: Registry[Edit] = Registry(
    "edit",
    {
        "pixels_in": "modelport.deployment.edits.pixels_in:PixelsIn",
        "strip_activation": "modelport.deployment.edits.strip_activation:StripActivation",
        "strip_argmax": "modelport.deployment.edits.strip_argmax:StripArgmax",
        "strip_resize": "modelport.deployment.edits.strip_resize:StripResize",
        "strip_sigmoid": "modelport.deployment.edits.strip_sigmoid:StripSigmoid",
        "strip_transpose": "modelport.deployment.edits.strip_transpose:StripTranspose",
    },
)

__all__ = ["EDITS", "Draft", "Edit", "Edited"]

"""Models chained as a graph: detect, crop, classify; detect text, rectify, read; detect, then pose.

`stages` says what a pipeline is made of, `walking` runs the stages, `cutting` makes the crops and `answering`
batches them, `chained` is the result, `telling` draws it, `manifest` and `saving` keep it in a file.
"""

from modelport.runtime.pipeline.chain import Pipeline
from modelport.runtime.pipeline.chained import Chained, Part
from modelport.runtime.pipeline.stages import Crops, Stage, Turn

__all__ = ["Chained", "Crops", "Part", "Pipeline", "Stage", "Turn"]

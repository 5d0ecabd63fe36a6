"""Models chained as a graph: detect, crop, classify; detect text, rectify, read; detect, then pose.

`stages` and `pyramid` say what a pipeline is made of, `walking` runs the stages, `cutting` makes the crops
and `answering` batches them, `joining` makes one result of several, `chained` is the result of all, `telling`
draws it, `manifest` and `saving` keep it in a file.
"""

from modelport.runtime.decoding.nms import Nms
from modelport.runtime.pipeline.chain import Pipeline
from modelport.runtime.pipeline.chained import Chained, Part
from modelport.runtime.pipeline.pyramid import Pyramid
from modelport.runtime.pipeline.stages import Crops, Stage, Turn

__all__ = ["Chained", "Crops", "Nms", "Part", "Pipeline", "Pyramid", "Stage", "Turn"]

"""What outputs mean: one file for each task."""

from typing import Any

from modelport.registry import Registry
from modelport.runtime.tasks.base import Task

TASKS: Registry[Task[Any, Any]] = Registry(
    "task",
    {
        "classification": "modelport.runtime.tasks.classification:ClassificationTask",
        "text_detection": "modelport.runtime.tasks.text_detection:TextDetectionTask",
        "text_recognition": "modelport.runtime.tasks.text_recognition:TextRecognitionTask",
        "detection": "modelport.runtime.tasks.detection:DetectionTask",
        "semantic_segmentation": "modelport.runtime.tasks.semantic_segmentation:SemanticSegmentationTask",
        "panoptic_segmentation": "modelport.runtime.tasks.panoptic_segmentation:PanopticSegmentationTask",
        "restoration": "modelport.runtime.tasks.restoration:RestorationTask",
        "video_classification": "modelport.runtime.tasks.video_classification:VideoClassificationTask",
        "embedding": "modelport.runtime.tasks.embedding:EmbeddingTask",
        "depth": "modelport.runtime.tasks.depth:DepthTask",
        "notes": "modelport.runtime.tasks.note_events:NotesTask",
        "voice_activity": "modelport.runtime.tasks.voice_activity:VoiceActivityTask",
        "pose": "modelport.runtime.tasks.pose:PoseTask",
        "instance_segmentation": "modelport.runtime.tasks.instance_segmentation:InstanceSegmentationTask",
        "face_detection": "modelport.runtime.tasks.face_detection:FaceDetectionTask",
        "rotated_detection": "modelport.runtime.tasks.rotated_detection:RotatedDetectionTask",
        "detection_3d": "modelport.runtime.tasks.detection_3d:Detection3DTask",
        "tensors": "modelport.runtime.tasks.tensors:TensorsTask",
    },
)

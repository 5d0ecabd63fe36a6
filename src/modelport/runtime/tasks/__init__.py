"""What outputs mean: one file for each task."""

from typing import Any

from modelport.registry import Registry
from modelport.runtime.tasks.base import Task

TASKS: Registry[Task[Any, Any]] = Registry(
    "task",
    {
        "classification": "modelport.runtime.tasks.classification:ClassificationTask",
        "tensors": "modelport.runtime.tasks.tensors:TensorsTask",
    },
)

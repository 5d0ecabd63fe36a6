"""Several labels to a picture, or none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.classification import Classification, ClassificationTask, MultiLabel

Array = np.ndarray[Any, Any]
LABELS = ("indoor", "person", "dog", "night")


def decode(row: Any, **parameters: Any) -> Classification:
    task = ClassificationTask()
    context = Context(task.parameters({"multi_label": True, **parameters}), LABELS)
    return task.decode({"y": np.asarray([row], np.float32)}, context)  # type: ignore[arg-type]


def sigmoid(values: Any) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.asarray(values, float))))


def test_all_that_reach_the_threshold_apply() -> None:
    logits = [2.0, -1.0, 3.0, 0.1]
    found = decode(logits)
    assert isinstance(found, MultiLabel)
    assert [each.label for each in found.classes] == ["dog", "indoor", "night"]
    np.testing.assert_allclose(
        [each.score for each in found.classes], sigmoid([3, 2, 0.1]), rtol=1e-6
    )
    assert [each.label for each in decode(logits, threshold=0.6).classes] == ["dog", "indoor"]
    assert [each.label for each in decode(logits, top=1).classes] == ["dog"]


def test_probabilities_stay_as_they_are() -> None:
    found = decode([0.5, 0.49, 0.9, 0.1], scores="probabilities")
    assert [each.label for each in found.classes] == ["dog", "indoor"]
    assert found.classes[0].score == pytest.approx(0.9)


def test_each_class_may_have_its_threshold() -> None:
    row = [0.5, 0.5, 0.5, 0.5]
    found = decode(row, scores="probabilities", threshold=[0.6, 0.5, 0.4, 0.51])
    assert [each.label for each in found.classes] == ["person", "dog"]
    with pytest.raises(FeedsError) as caught:
        decode(row, threshold=[0.5, 0.5])
    assert str(caught.value) == (
        "The first output has 4 classes, and the parameter threshold 2 numbers. Expected one number "
        "for all classes, or one to a class."
    )


def test_none_may_apply() -> None:
    found = decode([-3.0] * 4)
    assert found.classes == ()
    assert (found.label, found.score, found.index) == ("", 0.0, -1)
    assert json.loads(json.dumps(found.to_json())) == {"label": "", "score": 0.0, "classes": []}
    assert ClassificationTask().describe(found) == "no label"
    assert ClassificationTask().draw(Image.new("L", (20, 10)), found).size == (20, 10)


def test_all_of_them_are_told() -> None:
    assert ClassificationTask().describe(decode([2.0, -1.0, 3.0, -1.0])) == "dog 0.95, indoor 0.88"


def test_scores_that_are_not_finite_are_no_answer() -> None:
    with pytest.raises(EngineError, match="holds a NaN or an infinity"):
        decode([0.0, np.nan, 0.0, 0.0])
    with pytest.raises(UsageError, match="'threshold"):
        decode([0.0] * 4, threshold=1.5)

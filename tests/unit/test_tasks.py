"""Outputs become results: decoding, drawing, describing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from modelport.errors import EngineError, FeedsError, UnknownNameError
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context, Parameters, Result
from modelport.runtime.tasks.classification import Classification, ClassificationTask, ClassScore
from modelport.runtime.tasks.tensors import Tensors, TensorsTask

Array = np.ndarray[Any, Any]
LABELS = ("ant", "bee", "cat", "dog")


def context(labels: Any = None, **parameters: Any) -> Context[Any]:
    return Context(ClassificationTask().parameters(parameters), labels)


def decode(row: Any, **parameters: Any) -> Classification:
    scores = np.asarray([row], np.float32)
    return ClassificationTask().decode({"scores": scores}, context(LABELS, **parameters))


def test_logits_pass_a_softmax() -> None:
    result = decode([1.0, 3.0, 2.0, 0.0])
    powers = np.exp([1.0, 3.0, 2.0, 0.0])
    assert [each.index for each in result.classes] == [1, 2, 0, 3]
    assert [each.label for each in result.classes] == ["bee", "cat", "ant", "dog"]
    np.testing.assert_allclose(
        [each.score for each in result.classes], sorted(powers / powers.sum(), reverse=True)
    )
    assert (result.index, result.label) == (1, "bee")
    assert result.score == result.classes[0].score


def test_probabilities_stay_as_they_are() -> None:
    result = decode([0.125, 0.5, 0.25, 0.125], scores="probabilities")
    assert [each.score for each in result.classes] == [0.5, 0.25, 0.125, 0.125]


def test_large_logits_do_not_overflow() -> None:
    result = decode([1e4, -1e4, 0.0, 9999.0])
    assert result.label == "ant"
    assert result.score == pytest.approx(1 / (1 + np.exp(-1)))


@pytest.mark.parametrize(("top", "count"), [(1, 1), (3, 3), (4, 4), (5, 4), (1000, 4)])
def test_top_says_how_many(top: int, count: int) -> None:
    result = decode([1.0, 3.0, 2.0, 0.0], top=top)
    assert [each.index for each in result.classes] == [1, 2, 0, 3][:count]


def test_five_classes_by_default() -> None:
    outputs = {"y": np.arange(100, dtype=np.float32)[None]}
    result = ClassificationTask().decode(outputs, context())
    assert [each.index for each in result.classes] == [99, 98, 97, 96, 95]


def test_ties_go_to_the_lower_index() -> None:
    assert [each.index for each in decode([1.0, 2.0, 2.0, 1.0]).classes] == [1, 2, 0, 3]
    assert decode([0.0, 0.0, 1.0, 1.0], top=1).index == 2
    assert [each.index for each in decode([0.0, 0.0, 0.0, 0.0], top=2).classes] == [0, 1]


@pytest.mark.parametrize("labels", [None, (), ("ant", "bee")])
def test_classes_without_a_label_are_numbered(labels: tuple[str, ...] | None) -> None:
    outputs = {"y": np.array([[0.0, 1.0, 2.0]], np.float32)}
    result = ClassificationTask().decode(outputs, context(labels))
    named = ["class 2", "bee", "ant"] if labels else ["class 2", "class 1", "class 0"]
    assert [each.label for each in result.classes] == named


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (1, 4, 1), (1, 2, 2, 1), (0, 4)])
def test_outputs_that_are_no_row_of_scores_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FeedsError) as caught:
        ClassificationTask().decode({"y": np.zeros(shape, np.float32)}, context())
    assert str(caught.value) == (
        f"The first output has shape {list(shape)}. Expected one row of class scores for the "
        "classification task. Deploy the model with --task tensors to have the outputs as they are."
    )


def test_no_classes_are_refused() -> None:
    with pytest.raises(FeedsError, match=r"shape \[1, 0\]"):
        ClassificationTask().decode({"y": np.zeros((1, 0), np.float32)}, context())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_scores_that_are_not_finite_are_no_answer(value: float, scores: str) -> None:
    with pytest.raises(EngineError, match=r"The first output holds a NaN or an infinity\."):
        decode([1.0, value, 2.0, 0.0], scores=scores)


def test_a_class_may_be_ruled_out() -> None:
    result = decode([1.0, -np.inf, 2.0, 0.0])
    assert [each.label for each in result.classes] == ["cat", "ant", "dog", "bee"]
    assert result.classes[-1].score == 0.0


def test_first_output_is_the_one_decoded() -> None:
    outputs = {"scores": np.array([[0.0, 5.0]], np.float32), "features": np.zeros((1, 7, 7))}
    assert ClassificationTask().decode(outputs, context()).index == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8"])
def test_scores_of_any_element_type(dtype: str) -> None:
    outputs = {"y": np.array([[0, 3, 1]], dtype)}
    assert ClassificationTask().decode(outputs, context()).index == 1


def test_order_is_that_of_the_logits_where_softmax_cannot_tell() -> None:
    outputs = {"y": np.array([[0.0, 1e-300, 2e-300]])}
    result = ClassificationTask().decode(outputs, context())
    assert [each.index for each in result.classes] == [2, 1, 0]


def test_decoding_leaves_the_outputs_alone() -> None:
    scores = np.array([[1.0, 3.0, 2.0]])
    ClassificationTask().decode({"y": scores}, context())
    assert scores.tolist() == [[1.0, 3.0, 2.0]]


rows = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-30, 30, width=32))


@given(rows, st.integers(1, 50))
def test_laws_of_decoding(row: Array, top: int) -> None:
    result = ClassificationTask().decode({"y": row[None]}, context(top=top))
    scores = [each.score for each in result.classes]
    assert len(scores) == min(top, len(row))
    assert result.index == int(row.argmax())
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) <= 1 + 1e-9
    assert len({each.index for each in result.classes}) == len(scores)


@given(rows, st.floats(-20, 20))
def test_a_shift_of_all_logits_changes_nothing(row: Array, shift: float) -> None:
    before = ClassificationTask().decode({"y": row[None]}, context())
    after = ClassificationTask().decode({"y": row[None] + shift}, context())
    assert after.score == pytest.approx(before.score)


def test_classification_describes_itself() -> None:
    result = Classification(
        (ClassScore(281, "tabby cat", 0.8749), ClassScore(282, "tiger cat", 0.1))
    )
    assert ClassificationTask().describe(result) == "tabby cat 0.87"
    assert json.loads(json.dumps(result.to_json())) == {
        "label": "tabby cat",
        "score": 0.8749,
        "classes": [
            {"index": 281, "label": "tabby cat", "score": 0.8749},
            {"index": 282, "label": "tiger cat", "score": 0.1},
        ],
    }


def test_timings_are_no_part_of_a_result() -> None:
    classes = (ClassScore(0, "ant", 1.0),)
    assert Classification(classes, timing_ms={"inference": 1.0}) == Classification(classes)
    assert Classification(classes).timing_ms == {}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(200, 100), (1, 1), (8, 400)])
def test_drawing_writes_on_a_copy(mode: str, size: tuple[int, int]) -> None:
    image = Image.new(mode, size)
    before = image.tobytes()
    drawn = ClassificationTask().draw(image, Classification((ClassScore(0, "ant 蚂蚁", 0.5),)))
    assert drawn.size == size
    assert drawn.mode == "RGB"
    assert image.tobytes() == before


def test_drawing_changes_pixels_and_shows_the_result() -> None:
    image = Image.new("RGB", (200, 60), (40, 90, 160))
    task = ClassificationTask()
    ant, bee = (
        task.draw(image, Classification((ClassScore(0, name, 0.5),))) for name in ("ant", "bee")
    )
    assert ant.tobytes() != image.tobytes()
    assert ant.tobytes() != bee.tobytes()
    corner = np.asarray(image)[40:, :]
    assert (np.asarray(ant)[40:, :] == corner).all(), "only the caption may cover the picture"


def test_tensors_are_left_as_they_are() -> None:
    outputs = {"a": np.zeros((1, 2), np.float32), "b": np.arange(3)}
    result = TensorsTask().decode(outputs, Context(Parameters()))
    assert isinstance(result, Tensors)
    assert result["a"] is outputs["a"]
    assert TensorsTask().describe(result) == f"a float32 1x2, b {np.arange(3).dtype} 3"
    assert json.loads(json.dumps(result.to_json())) == {"a": [[0.0, 0.0]], "b": [0, 1, 2]}
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    drawn = TensorsTask().draw(image, result)
    assert drawn is not image
    assert drawn.tobytes() == image.tobytes()


def test_scalars_are_tensors_too() -> None:
    result = TensorsTask().decode({"loss": np.asarray(1.5)}, Context(Parameters()))
    assert json.loads(json.dumps(result.to_json())) == {"loss": 1.5}
    assert TensorsTask().describe(result) == "loss float64 scalar"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_json_has_not_become_null(value: float) -> None:
    result = TensorsTask().decode({"y": np.array([[1.0, value]])}, Context(Parameters()))
    assert json.dumps(result.to_json(), allow_nan=False) == '{"y": [[1.0, null]]}'


def test_a_result_without_a_json_form_says_so() -> None:
    with pytest.raises(TypeError, match="Result has no JSON form"):
        Result().to_json()


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(UnknownNameError, match="There is no task named 'classificaton'") as caught:
        TASKS.get("classificaton")
    assert "classification" in str(caught.value)

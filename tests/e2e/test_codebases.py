"""The libraries themselves, with random weights: models run, and transforms do what theirs do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from modelport.codebases import CODEBASES, open_codebase
from modelport.codebases.processors import recipe_of
from modelport.codebases.timm import proposals as timm_proposals
from modelport.errors import SourceError, UnknownNameError, UsageError
from modelport.frontends.source import Source
from modelport.frontends.weights import load_weights
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import TensorSpec
from support import ROOT

PHOTOS = ROOT.parent / "shared" / "data" / "images"
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def need(name: str) -> Any:
    """The library, or a skip with the reason why it cannot be used here."""
    codebase = CODEBASES.get(name)
    reason = codebase.available()
    if reason is not None:
        pytest.skip(reason)
    return codebase.library()


def opened(text: str) -> Source:
    need(text.partition(":")[0])
    return open_codebase(text, pretrained=False)


def feeds_of(source: Source) -> dict[str, Tensor]:
    """Random feeds for what the source says it takes."""
    items = source.inputs.values() if isinstance(source.inputs, dict) else [source.inputs]
    generator = torch.Generator().manual_seed(0)
    found = {}
    for spec in map(TensorSpec.parse, items):
        shape = spec.smallest()
        whole = spec.dtype == "int64"
        make = (
            torch.ones(shape, dtype=torch.int64)
            if whole
            else torch.rand(shape, generator=generator)
        )
        found[spec.name] = make
    return found


def run(source: Source) -> Any:
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return source.model.eval()(**feeds_of(source))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models on a machine that does something else: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    if not PHOTOS.is_dir():
        pytest.skip(f"there are no photos in {PHOTOS.parent.name}/{PHOTOS.name}")
    read = []
    for path in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(path) as photo:
            read.append(photo.convert("RGB"))
    standing = [photo for photo in read if photo.height > photo.width][:4]
    return standing + [photo for photo in read if photo.height <= photo.width][:4]


def assert_same(
    transforms: Any, theirs: Callable[[Image.Image], Any], photos: list[Image.Image]
) -> None:
    """Within one grey level of each channel, on every photo."""
    pipeline = PicturePreprocessor(transforms)
    normalize = pipeline.normalize
    grey = np.array([normalize.scale / std for std in normalize.std]) if normalize else np.ones(3)
    for photo in photos:
        ours = pipeline(photo)[0]
        wanted = np.asarray(theirs(photo), np.float32).reshape(ours.shape)
        assert (np.abs(ours - wanted) <= 1.001 * grey[:, None, None]).all()


# timm


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_timm_is_prepared_as_by_timm(name: str, photos: list[Image.Image]) -> None:
    source = opened(f"timm:{name}")
    timm = need("timm")
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=source.model))
    assert_same(source.transforms, transform, photos)
    assert source.inputs == "x=1x3x224x224"
    assert source.task == "classification"
    assert len(source.labels or ()) == 1000
    assert str((source.labels or ())[0]).startswith("tench")
    assert source.notes == ()
    assert source.licence is None, "the licence is that of weights that were not loaded"
    assert run(source).shape == (1, 1000)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("share", [0.875, 1.0])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_every_crop_of_timm(
    mode: str, share: float, method: str, photos: list[Image.Image]
) -> None:
    timm = need("timm")
    config = {
        "input_size": (3, 96, 96), "interpolation": method, "crop_pct": share, "crop_mode": mode,
        "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4),
    }  # fmt: skip
    (proposal,) = timm_proposals(config)
    assert_same(proposal, timm.data.create_transform(**config), photos[:4])


def test_options_of_timm() -> None:
    features = opened("timm:resnet18?features_only=true&out_indices=[1,3]")
    assert features.task == "tensors"
    assert features.labels is None
    assert [tuple(each.shape) for each in run(features)] == [(1, 64, 56, 56), (1, 256, 14, 14)]
    ten = opened("timm:resnet18?num_classes=10")
    assert ten.labels is None
    assert run(ten).shape == (1, 10)
    sized = opened("timm:vit_tiny_patch16_224?img_size=96")
    assert sized.inputs == "x=1x3x96x96"
    assert sized.transforms
    assert run(sized).shape == (1, 1000)


def test_what_cannot_be_said_of_timm_is_noted() -> None:
    grey = opened("timm:resnet18?in_chans=1")
    assert grey.inputs == "x=1x1x224x224"
    assert grey.transforms == ()
    assert "timm normalises 3 channels and this model takes 1" in grey.notes[0]
    wide = opened("timm:vit_tiny_patch16_224?img_size=[96,128]")
    assert wide.inputs == "x=1x3x96x128"
    assert wide.transforms == ()
    assert "does what modelport's transforms cannot say" in wide.notes[0]


def test_mistakes_with_timm() -> None:
    with pytest.raises(UnknownNameError, match=r"no model named 'resnet81'.* meant 'resnet18'"):
        opened("timm:resnet81")
    with pytest.raises(UsageError, match="The model resnet18 of timm has no option 'colour'"):
        opened("timm:resnet18?colour=red")
    with pytest.raises(SourceError, match="Invalid pretrained tag"):
        opened("timm:resnet18.no_such_weights")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download fails at once, whatever network there is."""
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    torchvision = need("torchvision")
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", unreachable)


@pytest.mark.parametrize(
    "text",
    [
        "timm:resnet18",
        "torchvision:resnet18",
        "segmentation_models_pytorch:Unet?encoder_name=resnet18",
    ],
)
def test_weights_that_cannot_be_had(text: str, offline: None) -> None:
    need(text.partition(":")[0])
    with pytest.raises(
        SourceError, match=r"could not be downloaded.*--weights FILE.*\?pretrained="
    ):
        open_codebase(text, pretrained=True)
    joint = "&" if "?" in text else "?"
    source = open_codebase(f"{text}{joint}pretrained=false", pretrained=True)
    assert "has random weights" in source.notes[-1]


# torchvision


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small?weights=IMAGENET1K_V1", "resnet50?weights=IMAGENET1K_V2"],
)
def test_torchvision_is_prepared_as_by_torchvision(name: str, photos: list[Image.Image]) -> None:
    source = opened(f"torchvision:{name}")
    models = need("torchvision").models
    model, _, weights = name.partition("?weights=")
    preset = models.get_model_weights(model)[weights or "DEFAULT"].transforms()
    assert_same(source.transforms, preset, photos)
    assert source.inputs == "x=1x3x224x224"
    assert source.task == "classification"
    assert list(source.labels or ())[:2] == ["tench", "goldfish"]
    assert run(source).shape == (1, 1000)


def test_weights_of_torchvision_fit_the_model(tmp_path: Path) -> None:
    """Also those of a detector, whose class is changed."""
    for text in ("torchvision:resnet18", "torchvision:ssdlite320_mobilenet_v3_large"):
        source = opened(text)
        torch.save(source.model.state_dict(), tmp_path / "weights.pth")
        assert "model.backbone" not in next(iter(source.model.state_dict()))
        load_weights(opened(text).model, tmp_path / "weights.pth")


DETECTORS = {
    "fasterrcnn_resnet50_fpn?min_size=96": ("boxes", "labels", "scores"),
    "maskrcnn_resnet50_fpn?min_size=96&box_detections_per_img=5": ("boxes", "labels", "scores", "masks"),
    "keypointrcnn_resnet50_fpn?min_size=96&box_detections_per_img=5": (
        "boxes", "labels", "scores", "keypoints", "keypoints_scores",
    ),
    "retinanet_resnet50_fpn?min_size=96": ("boxes", "labels", "scores"),
    "fcos_resnet50_fpn?min_size=96": ("boxes", "labels", "scores"),
    "ssdlite320_mobilenet_v3_large": ("boxes", "labels", "scores"),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_run(name: str) -> None:
    source = opened(f"torchvision:{name}")
    size = 320 if "320" in name else 96
    assert source.inputs == f"image=1x3x{size}x{size}"
    vars(source.model).update(score_thresh=0.0)  # of those without regions; weights are random
    found = run(source)
    assert tuple(found) == DETECTORS[name]
    assert found["boxes"].shape == (len(found["scores"]), 4)
    assert bool((found["scores"].diff() <= 0).all()), "best first"
    assert list(source.labels or ())[1] == "person"
    kinds = {"mask": "instance_segmentation", "keypoint": "pose"}
    assert source.task == next((kinds[k] for k in kinds if name.startswith(k)), "detection")
    outputs = {key: value.numpy() for key, value in found.items()}
    task = TASKS.get(source.task)
    parameters = {
        **source.parameters,
        "score_threshold" if source.task == "pose" else "threshold": 0.0,
    }
    result = task.decode(outputs, Context(task.parameters(parameters), source.labels))
    assert len(result.objects) == len(found["scores"]) > 0
    np.testing.assert_allclose([each.box for each in result.objects], found["boxes"], atol=1e-4)
    expected = [(source.labels or ())[index] for index in found["labels"]]
    assert [each.label for each in result.objects] == expected


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fcos_resnet50_fpn?min_size=96"])
def test_a_detector_is_prepared_as_by_torchvision(name: str, photos: list[Image.Image]) -> None:
    """Beside the transform inside the detector, which may make the longer side no longer than 96."""
    source = opened(f"torchvision:{name}")
    inside = source.model.transform
    inside.max_size = 96
    pipeline = PicturePreprocessor(source.transforms)
    mean, std = (np.array(each)[:, None, None] for each in (inside.image_mean, inside.image_std))
    for photo in photos:
        tensor = torch.from_numpy(np.asarray(photo, np.float32).transpose(2, 0, 1) / 255)
        (theirs,) = inside([tensor])[0].tensors.numpy()
        ours = (pipeline(photo)[0] - mean) / std
        high, wide = theirs.shape[1:]  # filled up to a multiple of 32 with zeros
        limit = 1.01 / 255 / std
        assert (np.abs(ours[:, :high, :wide] - theirs) <= limit).all()
        assert (np.abs(ours[:, high:]) <= limit).all()
        assert (np.abs(ours[:, :, wide:]) <= limit).all()


def test_models_of_torchvision_that_take_no_picture() -> None:
    flow = opened("torchvision:raft_small")
    assert flow.inputs == {"image1": "image1=1x3x128x128", "image2": "image2=1x3x128x128"}
    assert flow.notes[0].startswith("raft_small takes pairs of pictures")
    video = opened("torchvision:r3d_18")
    assert video.inputs == "x=1x3x16x112x112"
    assert video.transforms == ()


def test_segmentation_of_torchvision_has_no_fixed_size() -> None:
    source = opened("torchvision:lraspp_mobilenet_v3_large")
    assert source.inputs == "input=1x3x520x520"
    assert len(source.labels or ()) == 21
    assert [step.kind for step in source.transforms] == ["decode", "resize", "normalize", "layout"]
    assert "brings pictures to no fixed size" in source.notes[0]


def test_mistakes_with_torchvision() -> None:
    with pytest.raises(UsageError, match="torchvision has no weights 'BEST' for resnet18"):
        opened("torchvision:resnet18?weights=BEST")
    with pytest.raises(UsageError, match="The model resnet18 of torchvision has no option 'size'"):
        opened("torchvision:resnet18?size=3")


def test_a_size_that_the_preset_does_not_make() -> None:
    source = opened("torchvision:vit_b_32?image_size=64")
    assert source.inputs == "x=1x3x64x64"
    assert source.transforms == ()
    assert "brings pictures to 224x224, and this input takes 64x64" in source.notes[0]


@pytest.mark.parametrize(
    "before",
    [
        "",
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass",
        "library = torch.library.Library('torchvision', 'FRAGMENT')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "import torchvision",
    ],
    ids=["first", "after it failed", "after another shim"],
)
def test_torchvision_imports_whatever_came_before(before: str) -> None:
    need("torchvision")
    code = (
        f"import torch\n{before}\n"
        "from modelport.codebases.torchvision_operators import import_torchvision\n"
        "found = import_torchvision()\n"
        "assert import_torchvision() is found\n"
        "boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])\n"
        "print(found.ops.nms(boxes, torch.tensor([0.1, 0.2, 0.3]), 0.5).tolist())\n"
        "print(found.ops.roi_align(torch.ones(1, 1, 4, 4), [boxes[:1]], 1).item())\n"
        "print(found.ops.deform_conv2d(torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2),"
        " torch.ones(1, 1, 1, 1)).flatten().tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["[2, 1]", "1.0", "[1.0, 1.0, 1.0, 1.0]"]


# segmentation_models_pytorch


def test_segmentation_models(photos: list[Image.Image]) -> None:
    smp = need("segmentation_models_pytorch")
    source = opened("segmentation_models_pytorch:Unet?encoder_name=tu-resnet18&classes=3")
    assert source.name == "Unet_tu-resnet18"
    assert source.inputs == "x=1x3x256x256"
    assert run(source).shape == (1, 3, 256, 256)
    preprocess = smp.encoders.get_preprocessing_fn("tu-resnet18")
    assert_same(
        source.transforms,
        lambda photo: preprocess(np.asarray(photo)).transpose(2, 0, 1),
        photos[:2],
    )
    assert "this input takes 256x256 only" in source.notes[0]


def test_numbers_that_are_on_a_hub_are_not_guessed() -> None:
    source = opened("segmentation_models_pytorch:FPN?encoder_name=mobilenet_v2")
    assert source.transforms == ()
    assert source.notes[0].startswith("how mobilenet_v2 normalises is on the library's hub")


def test_mistakes_with_segmentation_models() -> None:
    with pytest.raises(UnknownNameError, match="Perhaps you meant 'Unet'"):
        opened("segmentation_models_pytorch:unet")
    with pytest.raises(UsageError, match=r"has no option 'encoder'.*meant 'encoder_name'"):
        opened("segmentation_models_pytorch:Unet?encoder=resnet18")
    with pytest.raises(SourceError, match="Wrong encoder name `resnet19`"):
        opened("segmentation_models_pytorch:Unet?encoder_name=resnet19")


# transformers


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models as `save_pretrained` writes them."""
    library = need("transformers")
    root = tmp_path_factory.mktemp("transformers")
    names = {0: "cat", 1: "dog", 2: "fish"}
    vision = {"image_size": 32, "patch_size": 8, **TINY}
    labelled = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    models = {
        "vit": library.ViTForImageClassification(library.ViTConfig(**vision, **labelled)),
        "bert": library.BertForSequenceClassification(
            library.BertConfig(vocab_size=200, num_labels=3, **TINY)
        ),
        "clip": library.CLIPVisionModelWithProjection(
            library.CLIPVisionConfig(projection_dim=16, **vision)
        ),
        "llama": library.LlamaForCausalLM(
            library.LlamaConfig(vocab_size=200, num_key_value_heads=2, **TINY)
        ),
        "t5": library.T5ForConditionalGeneration(
            library.T5Config(
                vocab_size=200, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2
            )
        ),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
    library.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(root / "vit")
    library.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(root / "clip")
    (root / "vit" / "README.md").write_text("---\nlicense: apache-2.0\ntags: []\n---\n# ViT\n")
    return root


def test_a_folder_becomes_a_source(folders: Path, photos: list[Image.Image]) -> None:
    library = need("transformers")
    source = open_codebase(f"transformers:{folders / 'vit'}", pretrained=True)
    assert source.inputs == {"pixel_values": "pixel_values=1x3x32x32"}
    assert (source.task, list(source.labels or ())) == ("classification", ["cat", "dog", "fish"])
    assert (source.name, source.licence, source.notes) == ("vit", "apache-2.0", ())
    processor = library.AutoImageProcessor.from_pretrained(folders / "vit", backend="pil")
    assert_same(
        source.transforms,
        lambda photo: processor(images=photo, return_tensors="np")["pixel_values"],
        photos,
    )
    model = library.ViTForImageClassification.from_pretrained(folders / "vit").eval()
    with torch.inference_mode():
        wanted = model(**feeds_of(source)).logits
    torch.testing.assert_close(run(source).logits, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "bert", "clip", "llama", "t5"])
def test_folders_run_and_keep_no_cache(name: str, folders: Path) -> None:
    source = open_codebase(f"transformers:{folders / name}", pretrained=True)
    found = run(source)
    assert "past_key_values" not in found
    assert all(isinstance(value, Tensor) for value in found.values())


@pytest.mark.parametrize("name", ["vit", "bert", "clip"])
def test_folders_export(name: str, folders: Path, tmp_path: Path) -> None:
    source = open_codebase(f"transformers:{folders / name}", pretrained=True)
    feeds = feeds_of(source)
    expected = run(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            source.model, (), tmp_path / "model.onnx", kwargs=feeds, dynamo=True, verbose=False,
            optimize=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = session.run(None, {key: value.numpy() for key, value in feeds.items()})
    for ours, wanted in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(ours, wanted.numpy(), atol=1e-5)


def test_text_has_no_transforms(folders: Path) -> None:
    source = open_codebase(f"transformers:{folders / 'bert'}", pretrained=True)
    assert source.inputs == {
        "input_ids": "input_ids:int64=1x16",
        "attention_mask": "attention_mask:int64=1x16",
    }
    assert source.task == "classification"
    assert source.labels is None, "LABEL_0 is no name"
    assert source.transforms == ()


def test_options_of_transformers(folders: Path) -> None:
    text = f"transformers:{folders / 'vit'}"
    five = open_codebase(f"{text}?num_labels=5", pretrained=False)
    assert run(five).logits.shape == (1, 5)
    assert five.labels is None
    fused = open_codebase(f"{text}?attn_implementation=sdpa", pretrained=True)
    plain = open_codebase(text, pretrained=True)
    torch.testing.assert_close(run(fused).logits, run(plain).logits, rtol=1e-4, atol=1e-5)
    features = open_codebase(f"{text}?task=image-feature-extraction", pretrained=True)
    assert type(features.model).__name__ == "ViTModel"
    assert features.notes == (
        f"{folders / 'vit'} lacks some weights, and these are random: pooler.dense.bias, "
        "pooler.dense.weight",
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("task=painting", r"The task 'painting' of .* is not known\. Expected one of depth-"),
        ("num_label=3", "has no option 'num_label'"),
        ("trust_remote_code=true", "has no option 'trust_remote_code'"),
        ("num_labels=5", "do not fit the model: classifier.bias is 3, the model has 5; class"),
    ],
)
def test_mistakes_with_transformers(option: str, message: str, folders: Path) -> None:
    with pytest.raises((UsageError, SourceError), match=message):
        open_codebase(f"transformers:{folders / 'vit'}?{option}", pretrained=True)


def test_folders_that_lack_something(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"There is no folder \./nowhere"):
        opened("transformers:./nowhere")
    with pytest.raises(SourceError, match=r"has no config\.json\. Expected a folder that save_pre"):
        opened(f"transformers:{tmp_path}")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folders / "vit" / "config.json", bare)
    with pytest.raises(SourceError) as caught:
        open_codebase(f"transformers:{bare}", pretrained=True)
    assert str(caught.value) == (
        f"The folder {bare} has no weights. Expected model.safetensors or pytorch_model.bin beside "
        f"config.json. Copy them there, or write transformers:{bare}?pretrained=false for random "
        "weights."
    )
    source = open_codebase(f"transformers:{bare}", pretrained=False)
    assert source.notes[0].startswith("no image processor was found, so no transforms were decl")
    kept = tmp_path / "weights.pth"
    torch.save(source.model.state_dict(), kept)
    load_weights(open_codebase(f"transformers:{bare}", pretrained=False).model, kept)


def test_pickled_weights_are_loaded_as_tensors_only(folders: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = tmp_path / "vit"
    shutil.copytree(folders / "vit", folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    source = open_codebase(f"transformers:{folder}", pretrained=True)
    whole = open_codebase(f"transformers:{folders / 'vit'}", pretrained=True)
    torch.testing.assert_close(source.model.state_dict(), whole.model.state_dict())
    torch.save({**state, "payload": print}, folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"The weights of .* could not be loaded"):
        open_codebase(f"transformers:{folder}", pretrained=True)


def test_code_of_a_folder_never_runs(folders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(folders / "vit", folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["model_type"] = "foreign"
    settings["auto_map"] = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(SourceError):
        open_codebase(f"transformers:{folder}", pretrained=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("named", [["pipeline"], ["NoSuchModel"], None])
def test_a_configuration_that_names_no_model(named: Any, folders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(folders / "vit", folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": named}))
    source = open_codebase(f"transformers:{folder}", pretrained=False)
    assert type(source.model).__name__ == "ViTModel"
    assert "so AutoModel was built; the option task= chooses another" in source.notes[0]


def test_a_repository_that_cannot_be_reached(offline: None) -> None:
    need("transformers")
    with pytest.raises(SourceError) as caught:
        open_codebase("transformers:nobody/no-such-model", pretrained=True)
    text = str(caught.value)
    assert text.startswith("The configuration of nobody/no-such-model could not be downloaded: ")
    assert text.endswith("Download the repository elsewhere, and give the path of its folder.")


PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "ViTImageProcessorPil": {},
    "DeiTImageProcessorPil": {},
    "BitImageProcessorPil": {},
    "CLIPImageProcessorPil": {},
    "SiglipImageProcessorPil": {},
    "ConvNextImageProcessorPil": {"size": {"shortest_edge": 224}},
    "LevitImageProcessorPil": {},
    "PoolFormerImageProcessorPil": {},
    "EfficientNetImageProcessorPil": {"rescale_offset": True, "rescale_factor": 1 / 127.5},
    "MobileViTImageProcessorPil": {"size": {"shortest_edge": 288}},
    "SegformerImageProcessorPil": {"do_normalize": False},
    "BeitImageProcessorPil": {"do_rescale": False, "do_normalize": False},
    "DetrImageProcessorPil": {},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_image_processors_are_said_exactly(name: str, photos: list[Image.Image]) -> None:
    processor = getattr(need("transformers"), name)(**PROCESSORS[name])
    recipe = recipe_of(processor)
    assert recipe.transforms
    assert_same(
        recipe.transforms,
        lambda photo: processor(images=photo, return_tensors="np")["pixel_values"],
        photos,
    )


def test_an_image_processor_that_cannot_be_said() -> None:
    recipe = recipe_of(need("transformers").Qwen2VLImageProcessorPil())
    assert recipe.transforms == ()
    assert recipe.notes == (
        "The Qwen2VLImageProcessor of transformers does what modelport's transforms cannot "
        "say, so no transforms were declared: declare your own, or feed tensors",
    )


@pytest.mark.parametrize("name", list(CODEBASES))
def test_names_are_listed(name: str) -> None:
    need(name)
    codebase = CODEBASES.get(name)
    names = codebase.names()
    assert all(isinstance(each, str) for each in names)
    model = codebase.example.partition(":")[2].partition("?")[0]
    assert model in names or not names

"""Dense tasks beside the libraries' own processing, and through whole bundles."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

import modelport
from modelport import transforms
from modelport.codebases import CODEBASES, open_codebase
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.transforms.clip import Frames
from support import ROOT

PHOTOS = ROOT.parent / "shared" / "data" / "images"
Array = np.ndarray[Any, Any]


def library(name: str) -> Any:
    reason = CODEBASES.get(name).available()
    if reason is not None:
        pytest.skip(reason)
    return CODEBASES.get(name).library()


@pytest.fixture(scope="module")
def photo() -> Path:
    path = PHOTOS / "000000000785.jpg"
    if not path.is_file():
        pytest.skip(f"there are no photos in {PHOTOS.parent.name}/{PHOTOS.name}")
    return path


def decode(
    task: str, outputs: dict[str, Any], placement: Placement | None = None, **parameters: Any
) -> Any:
    member = TASKS.get(task)
    arrays = {name: value.numpy() for name, value in outputs.items()}
    return member.decode(arrays, Context(member.parameters(parameters), None, placement))


def stretched(picture: tuple[int, int], tensor: tuple[int, int]) -> Placement:
    return Placement(picture, tensor, scaling(picture, tensor))


def smooth(*shape: int, seed: int, height: int = 32, width: int = 32) -> Tensor:
    """Hills and valleys, as networks give them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(*shape, 7, 7, generator=generator) * 4
    flat = coarse.reshape(1, -1, 7, 7)
    return interpolate(flat, (height, width), mode="bicubic").reshape(*shape, height, width)


# --- transformers -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(97, 61), (333, 500), (20, 24)])
def test_semantic_maps_are_those_of_transformers(size: tuple[int, int]) -> None:
    from_theirs = library("transformers").SegformerImageProcessor()
    logits = smooth(1, 150, seed=size[0])
    (expected,) = from_theirs.post_process_semantic_segmentation(
        SimpleNamespace(logits=logits), target_sizes=[size]
    )
    found = decode("semantic_segmentation", {"logits": logits}, stretched(size[::-1], (128, 128)))
    differs = found.labels != expected.numpy()
    assert differs.mean() < 1e-4
    best = interpolate(logits, size, mode="bilinear")[0].topk(2, dim=0).values
    assert bool((best[0] - best[1])[torch.from_numpy(differs)].lt(1e-4).all())


def panoptic(kind: str, seed: int) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """Its processor, random outputs, and the parameters that say what the processor does."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(1, 40, 9, generator=generator) * 3
    masks = smooth(1, 40, seed=seed, height=24, width=32)
    processor = getattr(library("transformers"), f"{kind}ImageProcessor")()
    return processor, {"classes": classes, "masks": masks}, {}


@pytest.mark.parametrize("kind", ["MaskFormer", "Mask2Former", "Detr"])
@pytest.mark.parametrize("fuse", [set(), {0, 1, 2, 3, 4, 5, 6, 7}, {1, 4}])
def test_panoptic_maps_are_those_of_transformers(kind: str, fuse: set[int]) -> None:
    compared = 0
    for seed in range(6):
        processor, outputs, parameters = panoptic(kind, seed)
        if kind == "Mask2Former":
            parameters["middle"] = (384, 384)
        given = SimpleNamespace(
            class_queries_logits=outputs["classes"], masks_queries_logits=outputs["masks"],
            logits=outputs["classes"], pred_masks=outputs["masks"],
        )  # fmt: skip
        (expected,) = processor.post_process_panoptic_segmentation(
            given, threshold=0.6, overlap_mask_area_threshold=0.3, label_ids_to_fuse=fuse,
            target_sizes=[(75, 110)],
        )  # fmt: skip
        found = decode(
            "panoptic_segmentation", outputs, stretched((110, 75), (128, 96)), threshold=0.6,
            overlap=0.3, stuff=sorted(fuse), **parameters,
        )  # fmt: skip
        theirs = {each["id"]: each["label_id"] for each in expected["segments_info"]}
        told = [(each["id"], each["label_id"]) for each in expected["segments_info"]]
        if len(set(told)) != len(theirs):
            continue  # after joining stuff, transformers may give an id to a second class
        compared += 1
        assert {each.id: each.index for each in found.segments} == theirs
        assert (found.map == expected["segmentation"].numpy()).mean() > 0.9995
        best = {each["id"]: each["score"] for each in reversed(expected["segments_info"])}
        for each in found.segments:
            assert each.score >= best[each.id] - 1e-5
            assert fuse or each.score == pytest.approx(best[each.id], abs=1e-5)
    assert compared >= 3


@pytest.mark.parametrize("seed", range(3))
def test_poses_are_those_of_vitpose(seed: int) -> None:
    processor = library("transformers").VitPoseImageProcessor()
    generator = np.random.default_rng(seed)
    centres = generator.uniform((4, 4), (43, 59), (17, 2))
    down, across = np.indices((64, 48))
    square = (across - centres[:, 0, None, None]) ** 2 + (down - centres[:, 1, None, None]) ** 2
    heatmaps = np.exp(-square / 8) + generator.normal(0, 0.01, (17, 64, 48))
    box = np.array([40.0, 30.0, 120.0, 200.0])  # left, top, width, height
    ((expected,),) = processor.post_process_pose_estimation(
        SimpleNamespace(heatmaps=torch.from_numpy(heatmaps.astype(np.float32))[None]),
        boxes=[[box]], kernel_size=11,
    )  # fmt: skip
    # The crop around the box, as UDP warps it: first and last pixels lie on its edges.
    middle = box[:2] + box[2:] / 2
    high = max(box[3], box[2] * 256 / 192)
    sides = 1.25 * np.array([high * 192 / 256, high])
    scale = (np.array([192, 256]) - 1) / sides
    crop = np.diag([*scale, 1.0]) @ shifting(*(sides / 2 - middle))
    placement = Placement((400, 300), (192, 256), shifting(0.5, 0.5) @ crop @ shifting(-0.5, -0.5))
    meant = {
        "form": "heatmaps", "refine": "dark_udp", "udp": True, "blur_sigma": 0.8,
        "blur_edge": "mirror",
    }  # fmt: skip
    given = {"heatmaps": torch.from_numpy(heatmaps.astype(np.float32))[None]}
    found = decode("pose", given, placement, **meant).objects[0]
    np.testing.assert_allclose(found.points - 0.5, expected["keypoints"].numpy(), atol=2e-3)
    np.testing.assert_allclose(found.scores, expected["scores"].numpy(), rtol=1e-6)


def test_depths_are_those_of_transformers() -> None:
    processor = library("transformers").DPTImageProcessor()
    given = smooth(1, seed=3)
    (expected,) = processor.post_process_depth_estimation(
        SimpleNamespace(predicted_depth=given), target_sizes=[(61, 97)]
    )
    found = decode("depth", {"predicted_depth": given}, stretched((97, 61), (384, 384)))
    np.testing.assert_allclose(found.map, expected["predicted_depth"].numpy(), atol=1e-4)


TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_codebases_say_what_outputs_mean(tmp_path: Path) -> None:
    hub = library("transformers")
    segformer = hub.SegformerConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, num_attention_heads=[1] * 4,
        decoder_hidden_size=8, id2label={0: "wall", 1: "sky", 2: "tree"}, label2id={"wall": 0},
        architectures=["SegformerForSemanticSegmentation"],
    )  # fmt: skip
    clip = hub.CLIPVisionConfig(
        **TINY, intermediate_size=64, image_size=32, patch_size=16, projection_dim=24,
        architectures=["CLIPVisionModelWithProjection"],
    )  # fmt: skip
    dino = hub.Dinov2Config(**TINY, image_size=28, patch_size=14, architectures=["Dinov2Model"])
    found = {}
    for name, config in {"segformer": segformer, "clip": clip, "dino": dino}.items():
        config.save_pretrained(tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = open_codebase(f"transformers:{tmp_path / name}", pretrained=False)
    assert (found["segformer"].task, found["segformer"].labels) == (
        "semantic_segmentation", ["wall", "sky", "tree"],
    )  # fmt: skip
    assert found["clip"].task == found["dino"].task == "embedding"
    for name, side in {"segformer": 64, "clip": 32, "dino": 28}.items():
        source = found[name]
        with torch.inference_mode():
            outputs = source.model.eval()(torch.rand(1, 3, side, side))
        tensors = {key: value for key, value in outputs.items() if isinstance(value, Tensor)}
        decode(source.task, tensors, **source.parameters)


# --- torchvision and segmentation_models_pytorch ------------------------------------------------


def test_a_segmenter_of_torchvision(photo: Path) -> None:
    library("torchvision")
    source = open_codebase("torchvision:lraspp_mobilenet_v3_large", pretrained=False)
    assert source.task == "semantic_segmentation"
    assert source.parameters == {"output": "out", "hidden": [0]}
    prepared = transforms.preprocessor(source.transforms)
    assert prepared is not None
    ready = prepared.prepare(photo)
    with torch.inference_mode():
        outputs = source.model.eval()(torch.from_numpy(ready.first))
    found = decode(source.task, outputs, ready.placement, **source.parameters)
    with Image.open(photo) as image:
        size = (image.height, image.width)
    assert found.labels.shape == size
    expected = interpolate(outputs["out"], size, mode="bilinear")[0]
    chosen = expected.gather(0, torch.from_numpy(found.labels).long()[None])[0]
    assert float((expected.max(0).values - chosen).max()) < 1e-4


@pytest.mark.parametrize(
    ("options", "task", "parameters"),
    [
        ("classes=3", "semantic_segmentation", {"scores": "logits"}),
        ("classes=1&activation=sigmoid", "semantic_segmentation", {"scores": "probabilities"}),
        ("classes=3&activation=sigmoid", "tensors", {}),
    ],
)
def test_segmentation_models(options: str, task: str, parameters: dict[str, Any]) -> None:
    library("segmentation_models_pytorch")
    text = f"segmentation_models_pytorch:Unet?encoder_name=tu-resnet18&{options}"
    source = open_codebase(text, pretrained=False)
    assert (source.task, source.parameters) == (task, parameters)


# --- whole bundles ------------------------------------------------------------------------------


class Sharpen(nn.Module):
    """Twice as large; every pixel sees 5 around it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
        for _ in range(3):
            layers += [nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
        layers += [nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.body(image)
        return found


def deployed(source: modelport.Source, output: Path, data: Path | None = None) -> Predictor:
    modelport.deploy(
        source, output=output, calibration=data, budget="100%", threads=1, report=False,
        engines=["onnxruntime"], precisions=["fp32"],
    )  # fmt: skip
    return modelport.load(output, threads=1)


def test_a_large_picture_goes_through_a_small_model_in_tiles(photo: Path, tmp_path: Path) -> None:
    model = Sharpen().eval()
    data = tmp_path / "data"
    data.mkdir()
    with Image.open(photo) as image:
        image.crop((100, 0, 400, 200)).save(data / "large.png")
        image.crop((0, 0, 70, 50)).save(data / "small.png")  # lower than a tile
    steps = [
        transforms.Decode(),
        transforms.Normalize(mean=(0.0,) * 3, std=(1.0,) * 3),
        transforms.Layout(),
    ]
    source = modelport.Source(
        model=model, inputs="image=1x3x64x64", transforms=steps, task="restoration",
        parameters={"scale": 2, "tiling": {"overlap": 16, "discard": 5}},
    )  # fmt: skip
    with deployed(source, tmp_path / "bundle", data) as predictor:
        modelport.verify(tmp_path / "bundle", threads=1)
        for file in sorted(data.iterdir()):
            found = predictor(file)
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255
            with torch.inference_mode():
                whole = model(torch.from_numpy(pixels))[0].permute(1, 2, 0).numpy() * 255
            assert found.pixels.shape == whole.shape
            difference = np.abs(found.pixels - whole)
            seen = slice(None) if file.stem == "large" else slice(0, 2 * (50 - 5))
            assert difference[seen].max() <= 0.5 + 1e-2, "rounding to whole grey levels alone"
            assert found.image.size == (whole.shape[1], whole.shape[0])
        assert [type(each).__name__ for each in predictor(sorted(data.iterdir()))] == [
            "Restored"
        ] * 2


class Unpadded(nn.Module):
    """Twice as large, but for 3 pixels of the input at each edge."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        layers: list[nn.Module] = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
        layers += [nn.ConvTranspose2d(8, 3, 4, stride=2, padding=3), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.body(image)
        return found


@pytest.mark.parametrize("inputs", ["image=1x3x48x48", "image=1x3x16..x16.."])
def test_networks_without_padding_give_whole_pictures(
    inputs: str, photo: Path, tmp_path: Path
) -> None:
    """Deployed and proved on a tile; what comes out is exact with tiles that share nothing."""
    model, data = Unpadded().eval(), tmp_path / "data"
    data.mkdir()
    with Image.open(photo) as image:
        image.crop((100, 0, 231, 90)).save(data / "large.png")
        image.crop((0, 0, 30, 40)).save(data / "small.png")
    plain = transforms.Normalize(mean=(0.0,) * 3, std=(1.0,) * 3)
    tiling = {"size": 48, "overlap": 0, "discard": 0, "margin": 3}
    source = modelport.Source(
        model=model, inputs=inputs, transforms=[transforms.Decode(), plain, transforms.Layout()],
        task="restoration", parameters={"scale": 2, "tiling": tiling},
    )  # fmt: skip
    with deployed(source, tmp_path / "bundle", data) as predictor:
        assert modelport.verify(tmp_path / "bundle", threads=1).passed
        for file in sorted(data.iterdir()):
            found = predictor(file)
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"), np.float32) / 255
            height, width = pixels.shape[:2]
            assert found.pixels.shape == (2 * height, 2 * width, 3)
            fed = np.pad(pixels, [(3, 3), (3, 3), (0, 0)], mode="reflect").transpose(2, 0, 1)[None]
            with torch.inference_mode():
                whole = model(torch.from_numpy(fed.copy()))[0].permute(1, 2, 0).numpy() * 255
            # Below a tile, a fixed size mirrors the picture again before the margin does.
            beyond = 6 if file.stem == "small" and ".." not in inputs else 0
            seen = np.s_[: 2 * height - 2 * beyond, : 2 * width - 2 * beyond]
            assert np.abs(found.pixels - whole)[seen].max() <= 0.5 + 1e-2


class Segmenter(nn.Module):
    """Scores of three classes on a grid four times as coarse."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Conv2d(3, 3, 7, stride=4, padding=3)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.body(image) * 4
        return found


def test_a_segmenter_undoes_its_crop(photo: Path, tmp_path: Path) -> None:
    model = Segmenter().eval()
    source = modelport.Source(
        model=model, inputs="image=1x3x96x96", transforms=transforms.imagenet(resize=120, crop=96),
        task="semantic_segmentation", labels=["a", "b", "c"], parameters={"palette": [[9, 9, 9]]},
    )  # fmt: skip
    with deployed(source, tmp_path / "bundle") as predictor:
        found = predictor(photo)
        ready = predictor.prepare(photo)
        with torch.inference_mode():
            scores = model(torch.from_numpy(ready.first))
    assert ready.placement is not None
    with Image.open(photo) as image:
        width, height = image.size
    assert found.labels.shape == (height, width)
    # Every pixel, looked up by grid_sample through the placement, in PyTorch's own coordinates.
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    places = ready.placement.points_to_tensor(np.stack([across, down], -1)) / 96
    inside = ((places >= 0) & (places <= 1)).all(-1)
    grid = torch.from_numpy(places * 2 - 1).float()[None]
    sampled = nn.functional.grid_sample(
        scores, grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0].numpy()
    assert 0.2 < inside.mean() < 0.6
    assert (found.labels[~inside] == found.void).all()
    best = np.sort(sampled, 0)
    clear = inside & (best[-1] - best[-2] > 1e-3)
    np.testing.assert_array_equal(found.labels[clear], sampled.argmax(0)[clear])
    assert sum(each.share for each in found.classes) == pytest.approx(inside.mean(), abs=1e-4)


class Motion(nn.Module):
    """How much a clip changes from frame to frame, in two classes."""

    def forward(self, clip: Tensor) -> Tensor:
        moved = (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean((1, 2, 3, 4))
        return torch.stack([0.1 - moved, moved - 0.1], 1) * 50


def test_a_clip_is_classified(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    still = np.broadcast_to(
        generator.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8), (20, 40, 40, 3)
    )
    lively = generator.integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)
    steps = [
        Frames(count=8),
        transforms.Decode(),
        transforms.Resize((32, 32)),
        transforms.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3),
        transforms.Layout(),
    ]
    source = modelport.Source(
        model=Motion(), inputs="clip=1x3x8x32x32", transforms=steps, task="video_classification",
        labels=["still", "lively"],
    )  # fmt: skip
    with deployed(source, tmp_path / "bundle") as predictor:
        assert predictor(still.copy()).label == "still"
        assert predictor(lively).label == "lively"
        assert predictor(list(lively)).label == "lively"
        assert [each.label for each in predictor([still.copy(), lively])] == ["still", "lively"]

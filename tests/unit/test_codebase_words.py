"""Models of other libraries: how they are spelled, what becomes of metadata, and what goes wrong."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from modelport import transforms
from modelport.codebases import (
    CODEBASES,
    Codebase,
    base,
    is_codebase,
    open_codebase,
    torchvision_operators,
)
from modelport.codebases import torchvision_kernels as kernels
from modelport.codebases.detection import for_one_picture, native_size
from modelport.codebases.processors import proposals as processor_proposals
from modelport.codebases.recipes import prove
from modelport.codebases.segmentation_models_pytorch import proposal as smp_proposal
from modelport.codebases.spelling import read_spelling, read_value
from modelport.codebases.timm import proposals as timm_proposals
from modelport.codebases.torchvision import proposal as torchvision_proposal
from modelport.codebases.transformers_inputs import inputs_of, picture_size
from modelport.errors import SourceError, UnknownNameError, UsageError
from modelport.frontends.source import Source
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Pad,
    Resize,
    ResizeToMultiple,
)
from modelport.runtime.transforms.picture import PicturePreprocessor


class Toy(Codebase):
    """A library with two models and one option, whose weights are never to be had."""

    name = "toy"
    package = "toy-models"
    summary = "toys"
    example = "toy:small"

    def library(self) -> Any:
        return None

    def names(self) -> list[str]:
        return ["small", "large"]

    def _build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        model = _toy(**options)
        if pretrained:
            raise OSError("Name or service not known.")
        return Source(model, name=name)


def _toy(width: int = 1) -> nn.Module:
    return nn.Linear(width, width)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Codebase:
    found = Toy()
    monkeypatch.setitem(CODEBASES._builtin, "toy", "unused:Toy")
    monkeypatch.setitem(CODEBASES._loaded, "toy", found)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timm:resnet18", True),
        ("timm:resnet18?num_classes=10", True),
        ("transformers:/models/vit", True),
        ("transformers:./vit", True),
        ("tim:resnet18", True),
        ("model:build", True),
        ("model.py:build", False),
        ("folder/model.py:build", False),
        ("./timm:resnet18", False),
        ("model.onnx", False),
        ("C:\\models\\net", False),
        ("https://example.org/model", False),
        ("timm", False),
    ],
)
def test_what_is_meant_as_a_codebase(text: str, expected: bool) -> None:
    assert is_codebase(text) is expected


def test_a_spelling_is_taken_apart() -> None:
    found = read_spelling("timm:resnet18.a1_in1k?num_classes=10&features_only=true&act=relu%26")
    assert (found.codebase, found.model) == ("timm", "resnet18.a1_in1k")
    assert found.options == {"num_classes": 10, "features_only": True, "act": "relu&"}
    assert read_spelling("timm:hf-hub:timm/resnet18").model == "hf-hub:timm/resnet18"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("True", True), ("null", None), ("None", None), ("3", 3), ("0.5", 0.5),
        ("[1,2]", [1, 2]), ("(1,2)", (1, 2)), ('"3"', "3"), ("resnet18", "resnet18"), ("", ""),
        ("a b", "a b"), ("__import__('os')", "__import__('os')"),
    ],
)  # fmt: skip
def test_values_are_literals_where_they_can_be(text: str, value: Any) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@pytest.mark.parametrize("option", ["x", "x=1&x=2", "=3", "a-b=1", ""])
def test_options_that_cannot_be_read(option: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read\. Expected NAME=VALUE, each name once"):
        read_spelling(f"timm:resnet18?{option}")


def test_a_spelling_without_a_model() -> None:
    with pytest.raises(UsageError) as caught:
        read_spelling("timm:")
    assert str(caught.value) == (
        "'timm:' names no model. Expected CODEBASE:MODEL. Write for example timm:NAME."
    )


def test_a_slip_in_the_codebase_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_codebase("tim:resnet18", pretrained=False)
    assert str(caught.value) == (
        "There is no codebase named 'tim'. Expected one of timm, torchvision, transformers, "
        "segmentation_models_pytorch. Perhaps you meant 'timm'."
    )


def test_a_forgotten_suffix_is_pointed_out() -> None:
    with pytest.raises(UnknownNameError, match=r"Write FILE\.py:FUNCTION for a function of your"):
        open_codebase("model:build", pretrained=False)


def test_every_codebase_describes_itself() -> None:
    for name in CODEBASES:
        codebase = CODEBASES.get(name)
        assert codebase.name == name
        assert codebase.extra == "codebases"
        assert codebase.summary
        assert codebase.example.startswith(f"{name}:")
        assert is_codebase(codebase.example)


def test_codebases_are_listed_without_their_libraries() -> None:
    code = (
        "import sys\nfrom modelport.codebases import CODEBASES\n"
        "[CODEBASES.get(name).available() for name in CODEBASES]\n"
        "heavy = ['torch', 'timm', 'torchvision', 'transformers', 'segmentation_models_pytorch']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "is_installed", lambda module: module != "timm")
    timm = CODEBASES.get("timm")
    assert timm.available() == 'timm is not installed: pip install "modelport[codebases]"'
    with pytest.raises(SourceError) as caught:
        open_codebase("timm:resnet18", pretrained=False)
    assert str(caught.value) == (
        "Models of timm cannot be built here. Expected the package timm. "
        'Timm is not installed: pip install "modelport[codebases]".'
    )
    smp = CODEBASES.get("segmentation_models_pytorch")
    assert str(smp.available()).startswith("timm is not installed")


def test_a_model_is_built(toy: Codebase) -> None:
    source = open_codebase("toy:small?width=3", pretrained=False)
    assert source.model.weight.shape == (3, 3)
    assert source.notes == ()


def test_random_weights_that_were_asked_for_are_noted(toy: Codebase) -> None:
    text = "toy:small?pretrained=false"
    assert open_codebase(text, pretrained=True).notes == (
        f"{text} has random weights: its results mean nothing until --weights loads others",
    )
    assert open_codebase(text, pretrained=False).notes == (), "--weights follow"


def test_weights_that_cannot_be_downloaded(toy: Codebase) -> None:
    with pytest.raises(SourceError) as caught:
        open_codebase("toy:small", pretrained=True)
    assert str(caught.value) == (
        "The weights of small could not be downloaded: Name or service not known. Pass --weights "
        "FILE if you have them, or write toy:small?pretrained=false for random weights."
    )
    with pytest.raises(SourceError, match="could not be downloaded"):
        open_codebase("toy:small?pretrained=true", pretrained=False)


@pytest.mark.parametrize("pretrained", [True, False])
def test_an_unknown_option_is_named(toy: Codebase, pretrained: bool) -> None:
    with pytest.raises(UsageError) as caught:
        open_codebase("toy:small?depth=3", pretrained=pretrained)
    assert str(caught.value) == (
        "The model small of toy has no option 'depth'. Expected an argument that the library's "
        "own builder takes."
    )


def test_other_mistakes_keep_the_words_of_the_library(toy: Codebase) -> None:
    with pytest.raises(
        SourceError, match=r"toy cannot build small: TypeError: .*Check the options"
    ):
        open_codebase("toy:small?width=wide", pretrained=True)


def test_an_unknown_model_offers_the_nearest(toy: Codebase) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_codebase("toy:smal", pretrained=True)
    assert str(caught.value) == (
        "toy has no model named 'smal'. Expected one of small, large. Perhaps you meant 'small'."
    )


def test_pretrained_is_true_or_false(toy: Codebase) -> None:
    with pytest.raises(UsageError) as caught:
        open_codebase("toy:small?pretrained=maybe", pretrained=True)
    assert str(caught.value) == (
        "The option 'pretrained' of toy:small is 'maybe'. Expected true or false."
    )


# From metadata to transforms

NORMALIZE = Normalize(mean=transforms.IMAGENET_MEAN, std=transforms.IMAGENET_STD)
TIMM = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": transforms.IMAGENET_MEAN,
    "std": transforms.IMAGENET_STD,
    "crop_pct": 0.875,
    "crop_mode": "center",
}


@pytest.mark.parametrize(
    ("changes", "geometry"),
    [
        ({}, [Resize(256, interpolation="pil.bicubic"), CenterCrop((224, 224))]),
        (
            {"crop_pct": 0.9, "interpolation": "bilinear"},
            [Resize(248, interpolation="pil.bilinear"), CenterCrop((224, 224))],
        ),
        (
            {"crop_mode": "squash", "crop_pct": 1.0},
            [Resize((224, 224), interpolation="pil.bicubic"), CenterCrop((224, 224))],
        ),
        (
            {"crop_mode": "border", "crop_pct": 0.9},
            [
                Letterbox((248, 248), divisor=1, interpolation="pil.bicubic"),
                CenterCrop((224, 224), fill=(124, 116, 104)),
            ],
        ),
    ],
)
def test_transforms_of_timm(changes: Mapping[str, Any], geometry: list[Any]) -> None:
    (found,) = timm_proposals({**TIMM, **changes})
    assert found == [Decode(), *geometry, NORMALIZE, Layout()]


def test_transforms_of_timm_for_other_channels() -> None:
    grey = {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,)}
    (found,) = timm_proposals({**TIMM, **grey})
    assert found[0] == Decode(colour="grey")
    assert timm_proposals({**TIMM, "input_size": (12, 64, 64)}) == []


def test_transforms_of_torchvision() -> None:
    preset = {
        "crop_size": [224],
        "resize_size": [232],
        "mean": list(transforms.IMAGENET_MEAN),
        "std": list(transforms.IMAGENET_STD),
        "interpolation": SimpleNamespace(value="bilinear"),
    }
    assert torchvision_proposal(preset) == transforms.imagenet(resize=232)
    del preset["crop_size"]
    assert torchvision_proposal(preset) == [Decode(), Resize(232), NORMALIZE, Layout()]
    plain = Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert torchvision_proposal({}) == [Decode(), plain, Layout()]


def test_transforms_of_segmentation_models() -> None:
    numbers = {
        "input_space": "RGB",
        "input_range": [0, 1],
        "mean": list(transforms.IMAGENET_MEAN),
        "std": list(transforms.IMAGENET_STD),
    }
    assert smp_proposal(numbers) == [Decode(), NORMALIZE, Layout()]
    wide = {**numbers, "input_space": "BGR", "input_range": [0, 255]}
    assert smp_proposal(wide)[:2] == [
        Decode(colour="bgr"),
        NORMALIZE.model_copy(update={"scale": 1.0}),
    ]


VIT = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
HALF = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("changes", "geometry", "normalize"),
    [
        ({}, [Resize((224, 224))], HALF),
        ({"resample": 3}, [Resize((224, 224), interpolation="pil.bicubic")], HALF),
        ({"resample": None}, [Resize((224, 224))], HALF),
        (
            {
                "size": {"shortest_edge": 224, "longest_edge": None},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            [Resize(224), CenterCrop((224, 224), rounding="floor")],
            HALF,
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
            [Resize(256), CenterCrop(224, rounding="floor")],
            HALF,
        ),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, [Resize((384, 384))], HALF),
        (
            {"do_rescale": False},
            [Resize((224, 224))],
            Normalize(mean=(0.5,) * 3, std=(0.5,) * 3, scale=1.0),
        ),
        (
            {"do_normalize": False},
            [Resize((224, 224))],
            Normalize(mean=(0.0,) * 3, std=(1.0,) * 3),
        ),
        ({"do_normalize": False, "do_rescale": False}, [Resize((224, 224))], None),
        ({"do_resize": False}, [], HALF),
        (
            {"include_top": True},
            [Resize((224, 224))],
            Normalize(mean=(0.5,) * 3, std=(0.25,) * 3),
        ),
        (
            {"rescale_offset": True, "rescale_factor": 1 / 127.5},
            [Resize((224, 224))],
            Normalize(mean=(1.5,) * 3, std=(0.5,) * 3, scale=1 / 127.5),
        ),
    ],
)
def test_transforms_of_image_processors(
    changes: Mapping[str, Any], geometry: list[Any], normalize: Normalize | None
) -> None:
    wanted = [Decode(), *geometry, *([normalize] if normalize else []), Layout()]
    assert wanted in list(processor_proposals({**VIT, **changes}))


def test_image_processors_that_flip_colours() -> None:
    first = next(processor_proposals({**VIT, "do_flip_channel_order": True}))
    assert first[0] == Decode(colour="bgr")


@pytest.mark.parametrize("size", [{"max_pixels": 9}, {"longest_edge": 1003520}, None])
def test_sizes_that_no_transform_makes(size: Any) -> None:
    assert list(processor_proposals({**VIT, "size": size})) == []


DETR = {"shortest_edge": 800, "longest_edge": 1333}
BLACK = (127.5, 127.5, 127.5)
"""What is 0 after HALF."""


@pytest.mark.parametrize(
    ("changes", "geometry"),
    [
        ({"size": DETR}, [Resize(800, limit=1333, limit_rounding="half-even")]),
        (
            {"size": DETR, "size_divisor": 32},
            [
                Resize(800, limit=1333, limit_rounding="half-even", divisor=32,
                       divisor_rounding="ceil")
            ],
        ),
        (
            {"size": {"longest_edge": 1024}, "do_pad": True, "pad_size": {"height": 9, "width": 8}},
            [
                Resize(1024, edge="longer", by="factor", rounding="nearest"),
                Pad(size=(9, 8), fill=BLACK),
            ],
        ),
        ({"size": None, "size_divisor": 32}, [
            ResizeToMultiple(divisor=32, rounding="floor", interpolation="pil.bilinear")
        ]),
        (
            {"ensure_multiple_of": 14, "keep_aspect_ratio": True},
            [ResizeToMultiple(divisor=14, size=(224, 224), keep_ratio=True,
                              interpolation="pil.bilinear")],
        ),
        (
            {"size": {"max_height": 60, "max_width": 80}},
            [Letterbox((60, 80), rounding="floor", divisor=1, interpolation="pil.bilinear")],
        ),
        (
            {"do_thumbnail": True, "do_pad": True},
            [
                Resize(224),
                Letterbox((224, 224), fill=0, upscale=False, rounding="floor",
                          interpolation="pil.bilinear"),
            ],
        ),
        ({"do_resize": False, "do_pad": True, "size_divisor": 8},
         [Pad(divisor=8, always=True, fill="symmetric")]),
        ({"do_resize": False, "do_pad": True, "size_divisor": 8},
         [Pad(divisor=8, anchor="center", fill=BLACK)]),
    ],
)  # fmt: skip
def test_sides_that_depend_on_the_picture(changes: Mapping[str, Any], geometry: list[Any]) -> None:
    assert [Decode(), *geometry, HALF, Layout()] in list(processor_proposals({**VIT, **changes}))


def test_what_is_filled_is_in_the_order_of_red_green_blue() -> None:
    changes = {"do_flip_channel_order": True, "image_mean": [0.2, 0.4, 0.6], "do_resize": False,
               "do_pad": True, "pad_size": {"height": 9, "width": 8}}  # fmt: skip
    first = next(processor_proposals({**VIT, **changes}))
    assert first[1].fill == pytest.approx((153, 102, 51))
    out = PicturePreprocessor(first)(np.full((4, 5, 3), 255, np.uint8))
    np.testing.assert_allclose(out[0, :, 8, 7], 0, atol=1e-6)


def test_ribbons_tell_a_limit() -> None:
    """Of two recipes that differ only in the limit of the longer edge, only one is right."""
    right = [Decode(), Resize(24, limit=60), HALF, Layout()]
    wrong = [Decode(), Resize(24), HALF, Layout()]
    found = prove([wrong, right], PicturePreprocessor(right), "It")
    assert found.transforms == tuple(right)


def test_a_recipe_of_other_sides_makes_no_picture() -> None:
    """What a wrong guess would make may not fit into memory."""
    wrong = [Decode(), Resize(1_000_000), HALF, Layout()]
    assert prove([wrong, SMALL], PicturePreprocessor(SMALL), "It").transforms == tuple(SMALL)


# Proof on pictures

SMALL = [Decode(), Resize((24, 24)), HALF, Layout()]


def test_only_what_does_the_same_counts() -> None:
    wrong = [Decode(), Resize((24, 24), interpolation="pil.bicubic"), HALF, Layout()]
    found = prove([wrong, SMALL], lambda picture: PicturePreprocessor(SMALL)(picture)[0], "It")
    assert found.transforms == tuple(SMALL)
    assert found.size == (24, 24)
    assert found.notes == ()


@pytest.mark.parametrize(
    "wrong",
    [
        [Decode(), Resize(24), CenterCrop(24), HALF, Layout()],
        [Decode(colour="bgr"), Resize((24, 24)), HALF, Layout()],
        [Decode(), Resize((24, 24)), NORMALIZE, Layout()],
        [Decode(), Resize((24, 25)), HALF, Layout()],
        [Decode(colour="grey"), Resize((24, 24)), HALF, Layout()],
    ],
)
def test_what_differs_is_left_out_with_a_note(wrong: list[Any]) -> None:
    found = prove([wrong], PicturePreprocessor(SMALL), "It")
    assert found.transforms == ()
    assert found.notes == (
        "It does what modelport's transforms cannot say, so no transforms were declared: declare "
        "your own, or feed tensors",
    )


@pytest.mark.parametrize("rounding", ["half-even", "floor"])
@pytest.mark.parametrize("resize", [22, 23, 24, 25, 28])
def test_the_rounding_of_a_margin_shows(rounding: Any, resize: int) -> None:
    """Else the pictures would not tell one library's crop from another's."""
    both = [
        [Decode(), Resize(resize), CenterCrop(22, rounding=each), HALF, Layout()]
        for each in ("half-even", "floor")
    ]
    wanted = next(each for each in both if each[2].rounding == rounding)
    assert prove(both, PicturePreprocessor(wanted), "It").transforms == tuple(wanted)


def test_a_processor_that_fails_is_quoted() -> None:
    def fails(picture: Image.Image) -> Any:
        raise ValueError("two pictures, please")

    assert prove([SMALL], fails, "It").notes == (
        "It fails on a plain picture (ValueError: two pictures, please), so no transforms were "
        "declared: declare your own, or feed tensors",
    )


def test_a_recipe_without_a_size_says_so() -> None:
    free = [Decode(), HALF, Layout()]
    found = prove([free], PicturePreprocessor(free), "It")
    assert found.size is None
    fitted = found.fitting((64, 96), "It")
    assert fitted.transforms == tuple(free)
    assert fitted.notes == (
        "It brings pictures to no fixed size, and this input takes 64x96 only: use pictures of "
        "that size, or declare transforms with a Resize",
    )


def test_a_recipe_of_another_size_is_dropped() -> None:
    found = prove([SMALL], PicturePreprocessor(SMALL), "It")
    assert found.fitting((24, 24), "It") is found
    fitted = found.fitting((32, 32), "It")
    assert fitted.transforms == ()
    assert fitted.notes[0].startswith("It brings pictures to 24x24, and this input takes 32x32")


# What models of transformers are fed with


class Text(nn.Module):
    main_input_name = "input_ids"

    def forward(self, input_ids: Any, past: Any = None, attention_mask: Any = None) -> None: ...


class Picture(nn.Module):
    main_input_name = "pixel_values"

    def forward(self, pixel_values: Any, attention_mask: Any = None) -> None: ...


class Translator(nn.Module):
    main_input_name = "input_ids"

    def forward(self, input_ids: Any, attention_mask: Any, decoder_input_ids: Any) -> None: ...


class Both(nn.Module):
    main_input_name = "pixel_values"

    def forward(self, input_ids: Any, pixel_values: Any, attention_mask: Any) -> None: ...


class Sound(nn.Module):
    main_input_name = "input_values"

    def forward(self, input_values: Any, attention_mask: Any = None) -> None: ...


class Unheard(nn.Module):
    main_input_name = "inputs_of_its_own"

    def forward(self, inputs_of_its_own: Any) -> None: ...


def config(**settings: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"is_encoder_decoder": False, **settings})


def test_inputs_of_transformers() -> None:
    ids, mask = "input_ids:int64=1x16", "attention_mask:int64=1x16"
    pixels = "pixel_values=1x3x32x48"
    assert inputs_of(Text(), config(), (9, 9)) == {"input_ids": ids, "attention_mask": mask}
    assert inputs_of(Picture(), config(), (32, 48)) == {"pixel_values": pixels}
    assert inputs_of(Picture(), config(num_channels=1), (8, 8)) == {
        "pixel_values": "pixel_values=1x1x8x8"
    }
    assert inputs_of(Translator(), config(is_encoder_decoder=True), (9, 9)) == {
        "input_ids": ids,
        "attention_mask": mask,
        "decoder_input_ids": "decoder_input_ids:int64=1x16",
    }
    both = config(vision_config=SimpleNamespace(num_channels=3))
    assert inputs_of(Both(), both, (32, 48)) == {
        "input_ids": ids,
        "pixel_values": pixels,
        "attention_mask": mask,
    }
    assert inputs_of(Sound(), config(), (9, 9)) == {"input_values": "input_values=1x16000"}
    assert inputs_of(Unheard(), config(), (9, 9)) is None


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"image_size": 384}, (384, 384)),
        ({"image_size": [64, 96]}, (64, 96)),
        ({"image_size": {"height": 64, "width": 96}}, (64, 96)),
        ({"vision_config": SimpleNamespace(image_size=336)}, (336, 336)),
        ({}, (224, 224)),
    ],
)
def test_picture_size_of_transformers(settings: Any, size: tuple[int, int]) -> None:
    assert picture_size(config(**settings)) == size


# Detectors


class Boxes(nn.Module):
    """Speaks as torchvision's detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1)
        self.transform = SimpleNamespace(fixed_size=(320, 240), min_size=(800,))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        (image,) = images
        found = torch.ones(1)
        return [{"masks": image.sum(0), "scores": found, "boxes": found, "labels": found}]


def test_a_detector_takes_one_picture() -> None:
    detector = Boxes()
    keys = list(detector.state_dict())
    wrapped = for_one_picture(detector)
    assert wrapped is detector
    assert type(wrapped).__name__ == "Boxes"
    assert isinstance(wrapped, Boxes)
    assert not wrapped.training
    assert list(wrapped.state_dict()) == keys
    assert list(wrapped(torch.rand(1, 3, 4, 5))) == ["boxes", "labels", "scores", "masks"]
    with pytest.raises(ValueError, match="torchvision's detectors take one picture, not 2"):
        wrapped(torch.rand(2, 3, 4, 5))


def test_the_native_size_of_a_detector() -> None:
    detector = Boxes()
    assert native_size(detector) == (240, 320)
    detector.transform = SimpleNamespace(fixed_size=None, min_size=(640, 800))
    assert native_size(detector) == (800, 800)


# torchvision's operators


def random_boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 40
    sides = torch.rand(count, 2, generator=generator) * 20
    return torch.cat([corners, corners + sides], 1), torch.rand(count, generator=generator)


def overlap(one: Tensor, other: Tensor) -> float:
    wide = float(min(one[2], other[2]) - max(one[0], other[0]))
    high = float(min(one[3], other[3]) - max(one[1], other[1]))
    shared = max(wide, 0.0) * max(high, 0.0)
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_nms_keeps_what_no_better_box_covers(
    threshold: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "BLOCK", block)
    boxes, scores = random_boxes(60, seed=1)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index], boxes[best]) <= threshold for best in kept):
            kept.append(index)
    assert 1 < len(kept) <= 60
    assert kernels.nms(boxes, scores, threshold).tolist() == kept


def test_nms_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 1], [1, 0, 3, 1], [0, 0, 2, 1], [5, 5, 5, 5], [5, 5, 5, 5]])
    scores = torch.tensor([0.5, 0.9, 0.5, 0.1, 0.1])
    # Boxes 0 and 1 share a third; 0 and 2 are the same; 3 and 4 have no area, and 0/0 is no overlap.
    assert kernels.nms(boxes, scores, 0.3).tolist() == [1, 3, 4]
    assert kernels.nms(boxes, scores, 0.34).tolist() == [1, 0, 3, 4]
    none = kernels.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert none.tolist() == []
    assert none.dtype == torch.int64


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """As torchvision's kernel: nothing beyond one pixel outside, the edge up to there."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    above = float(plane[top, left]) * (1 - across) + float(plane[top, right]) * across
    below = float(plane[bottom, left]) * (1 - across) + float(plane[bottom, right]) * across
    return above * (1 - down) + below * down


def roi_align_by_loops(
    features: Tensor, rois: Tensor, scale: float, size: int, ratio: int, aligned: bool
) -> Tensor:
    out = torch.zeros(len(rois), features.shape[1], size, size)
    for k, roi in enumerate(rois.tolist()):
        left, top, right, bottom = (edge * scale - (0.5 if aligned else 0) for edge in roi[1:])
        least = -np.inf if aligned else 1.0
        steps = [max(far - near, least) / size for near, far in ((top, bottom), (left, right))]
        counts = [ratio if ratio > 0 else max(0, int(np.ceil(step))) for step in steps]
        for c, i, j in itertools.product(range(features.shape[1]), range(size), range(size)):
            total = sum(
                bilinear(
                    features[int(roi[0]), c],
                    top + i * steps[0] + (a + 0.5) * steps[0] / counts[0],
                    left + j * steps[1] + (b + 0.5) * steps[1] / counts[1],
                )
                for a, b in itertools.product(range(counts[0]), range(counts[1]))
            )
            out[k, c, i, j] = total / max(counts[0] * counts[1], 1)
    return out


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [-1, 1, 2])
def test_roi_align_against_loops(ratio: int, aligned: bool) -> None:
    features = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor(
        [
            [0, 1.0, 2.0, 11.0, 9.0],
            [1, 0.0, 0.0, 18.0, 14.0],
            [1, -6.0, -5.0, 30.0, 25.0],
            [0, 4.0, 4.0, 4.0, 4.0],
            [0, 3.3, 1.7, 6.1, 12.9],
        ]
    )
    found = kernels.roi_align(features, rois, 0.5, 2, 2, ratio, aligned)
    expected = roi_align_by_loops(features, rois, 0.5, 2, ratio, aligned)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_roi_align_by_hand() -> None:
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    # The middle of each 2x2 cell lies between four pixels: their average.
    found = kernels.roi_align(features, torch.tensor([[0, 0.5, 0.5, 3.5, 3.5]]), 1.0, 1, 1, 1, True)
    assert found.flatten().tolist() == [7.5]
    none = kernels.roi_align(features, torch.zeros(0, 5), 1.0, 2, 3, 2, False)
    assert none.shape == (0, 1, 2, 3)


def deform(
    features: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, **settings: Any
) -> Tensor:
    stride, pad, dilation = (settings.get(key, 1) for key in ("stride", "pad", "dilation"))
    return kernels.deform_conv2d(
        features, weight, offset, torch.zeros(1, 1) if mask is None else mask,
        settings.get("bias", torch.zeros(len(weight))), stride, stride, pad, pad, dilation,
        dilation, settings.get("groups", 1), settings.get("offset_groups", 1), mask is not None,
    )  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "pad", "dilation"), [(1, 1, 1), (2, 0, 1), (1, 2, 2)])
def test_a_convolution_that_nothing_moves(
    groups: int, stride: int, pad: int, dilation: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 4, 8, 7, generator=generator)
    weight = torch.rand(6, 4 // groups, 3, 3, generator=generator)
    bias = torch.rand(6, generator=generator)
    expected = nn.functional.conv2d(features, weight, bias, stride, pad, dilation, groups)
    offset = torch.zeros(2, 2 * 2 * 9, *expected.shape[2:])
    settings = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    found = deform(features, weight, offset, None, bias=bias, offset_groups=2, **settings)
    torch.testing.assert_close(found, expected)
    halved = torch.full((2, 2 * 9, *expected.shape[2:]), 0.5)
    found = deform(features, weight, offset, halved, bias=bias, offset_groups=2, **settings)
    shift = bias.view(1, -1, 1, 1)
    torch.testing.assert_close(found, (expected - shift) / 2 + shift)


def sampled(plane: Tensor, y: float, x: float) -> float:
    """Bilinear, zero outside."""
    total = 0.0
    for row, column in itertools.product(
        *((int(np.floor(v)), int(np.floor(v)) + 1) for v in (y, x))
    ):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += float(plane[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_a_convolution_whose_taps_move() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.rand(1, 2, 5, 6, generator=generator)
    weight = torch.rand(2, 2, 2, 2, generator=generator)
    offset = torch.randn(1, 2 * 2 * 4, 4, 5, generator=generator) * 2
    mask = torch.rand(1, 2 * 4, 4, 5, generator=generator)
    found = deform(features, weight, offset, mask, pad=0, offset_groups=2)
    expected = torch.zeros(1, 2, 4, 5)
    for o, y, x, c, tap in itertools.product(range(2), range(4), range(5), range(2), range(4)):
        i, j = divmod(tap, 2)
        move = 2 * (c * 4 + tap)  # each channel has offsets of its own here
        value = sampled(
            features[0, c],
            y + i + float(offset[0, move, y, x]),
            x + j + float(offset[0, move + 1, y, x]),
        )
        expected[0, o, y, x] += weight[o, c, i, j] * value * mask[0, c * 4 + tap, y, x]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_shapes_for_tracing() -> None:
    features, rois = torch.rand(2, 3, 8, 8, device="meta"), torch.rand(5, 5, device="meta")
    assert kernels.roi_align_shape(features, rois, 1.0, 7, 6, 2, True).shape == (5, 3, 7, 6)
    weight, offset = torch.rand(4, 3, 3, 3, device="meta"), torch.rand(2, 18, 6, 5, device="meta")
    found = kernels.deform_conv2d_shape(
        features, weight, offset, offset, offset, 1, 1, 0, 0, 1, 1, 1, 1, False
    )
    assert found.shape == (2, 4, 6, 5)


# Whether ours are needed


def fake_torchvision(monkeypatch: pytest.MonkeyPatch, outcome: list[Any]) -> list[str]:
    """Importing torchvision gives one outcome after the other; returns what else was done."""
    done: list[str] = []

    def import_module(name: str) -> Any:
        result = outcome.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(torchvision_operators, "is_installed", lambda module: True)
    monkeypatch.setattr(torchvision_operators.importlib, "import_module", import_module)
    monkeypatch.setattr(torchvision_operators, "_define", lambda name: done.append(name))
    monkeypatch.setattr(torchvision_operators, "supply", lambda: done.append("supplied"))
    return done


def installed(complete: bool) -> Any:
    return SimpleNamespace(extension=SimpleNamespace(_has_ops=lambda: complete))


def test_a_whole_torchvision_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = installed(True)
    done = fake_torchvision(monkeypatch, [whole])
    assert torchvision_operators.import_torchvision() is whole
    assert done == []


def test_one_without_operators_gets_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = RuntimeError("operator torchvision::nms does not exist")
    done = fake_torchvision(monkeypatch, [lacking, installed(False)])
    torchvision_operators.import_torchvision()
    assert done == ["nms", "qnms", "supplied"]


def test_one_that_imports_without_operators_gets_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    done = fake_torchvision(monkeypatch, [installed(False)])
    torchvision_operators.import_torchvision()
    assert done == ["supplied"]


def test_other_failures_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torchvision(monkeypatch, [RuntimeError("compiled with different CUDA versions")])
    with pytest.raises(RuntimeError, match="different CUDA versions"):
        torchvision_operators.import_torchvision()


def test_no_torchvision_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_operators, "is_installed", lambda module: False)
    assert torchvision_operators.import_torchvision() is None

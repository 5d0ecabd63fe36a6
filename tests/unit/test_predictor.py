"""A loaded bundle answers for whatever stands for a picture, or says why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modelport
from modelport.bundle.read import Bundle
from modelport.engines import ENGINES
from modelport.errors import (
    BundleError,
    BundleFormatError,
    DataError,
    EngineError,
    EngineUnavailableError,
    FeedsError,
    UsageError,
)
from modelport.runtime.loading import load
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.classification import Classification
from modelport.types import Feeds, Outputs
from support import CLASSES


@pytest.fixture(scope="module")
def predictor(small_bundle: Path) -> Predictor:
    return load(small_bundle, threads=1)


@pytest.fixture(scope="module")
def batcher(batch_bundle: Path) -> Predictor:
    return load(batch_bundle, threads=1)


@pytest.fixture(scope="module")
def adder(sum_bundle: Path) -> Predictor:
    return load(sum_bundle, threads=1)


def files(pictures: Path) -> list[Path]:
    return sorted(pictures.iterdir())


# --- several sessions ---------------------------------------------------------------------------


def test_streams_answer_as_one_session(
    small_bundle: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    engine = ENGINES.get(Bundle(small_bundle).manifest.variant().engine)
    load_one = engine.load
    monkeypatch.setattr(
        engine, "load", lambda *a, **k: opened.append(k["threads"]) or load_one(*a, **k)
    )
    photos = files(pictures) * 3
    with load(small_bundle, threads=4) as predictor:
        alone = [predictor(photo) for photo in photos]
        for _ in range(2):  # the sessions are kept
            several = list(predictor.map(photos, streams=2, errors="raise"))
            assert [each.label for each in several] == [each.label for each in alone]
            assert [e.score for e in several] == pytest.approx([e.score for e in alone], rel=1e-4)
        assert opened == [4, 2, 2]
        steps = predictor.side_by_side(2)
    with pytest.raises(EngineError, match="closed"):
        steps.run([steps.prepare(photos[0])])


def test_how_many_streams_are_likely_to_pay(small_bundle: Path) -> None:
    with load(small_bundle, threads=3) as predictor:
        assert predictor.fitting_streams(5) == 1, "so few do not pay for opening"
        assert predictor.fitting_streams(500) == predictor.fitting_streams() == 3
    with load(small_bundle, threads=1) as predictor:
        assert predictor.fitting_streams() == 1
    with load(small_bundle, threads=3, isolated=True) as predictor:
        assert predictor.fitting_streams() == 1


def test_a_session_that_cannot_be_opened_is_said_at_once(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(small_bundle, threads=2) as predictor:
        engine = ENGINES.get(predictor.variant.engine)

        def refuse(*_: Any, **__: Any) -> Any:
            raise EngineError("no memory is left")

        monkeypatch.setattr(engine, "load", refuse)
        with pytest.raises(EngineError, match="no memory is left"):
            predictor.map([], streams=2)
        with pytest.raises(UsageError, match="streams is 0"):
            predictor.map([], streams=0)


# --- what it takes ------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "array": lambda path: np.asarray(Image.open(path)),
    "picture": Image.open,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_gives_the_same_answer(
    form: str, predictor: Predictor, pictures: Path
) -> None:
    for file in files(pictures)[:3]:
        answer = predictor(FORMS[form](file))
        assert isinstance(answer, Classification)
        assert answer == predictor(file)


def test_answers_move_with_the_picture(predictor: Predictor, pictures: Path) -> None:
    assert len({answer.label for answer in predictor(files(pictures))}) >= 5


def test_labels_come_from_the_bundle(predictor: Predictor, pictures: Path) -> None:
    answer = predictor(files(pictures)[0])
    assert answer.label == CLASSES[answer.index]
    assert len(answer.classes) == 5


def test_time_is_told_by_stage(predictor: Predictor, pictures: Path) -> None:
    timing = predictor(files(pictures)[0]).timing_ms
    assert list(timing) == ["decode", "resize", "normalize", "inference", "result"]
    assert all(value >= 0 for value in timing.values())


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_gives_a_list(kind: type, predictor: Predictor, pictures: Path) -> None:
    found = predictor(kind(files(pictures)))
    assert isinstance(found, list)
    assert found == [predictor(file) for file in files(pictures)]


def test_an_empty_list_gives_an_empty_list(predictor: Predictor, batcher: Predictor) -> None:
    assert predictor([]) == []
    assert batcher([]) == []


def test_one_picture_of_a_list_that_is_bad_is_named(predictor: Predictor, pictures: Path) -> None:
    with pytest.raises(DataError, match=r"There is no picture .*missing\.png"):
        predictor([files(pictures)[0], pictures / "missing.png"])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (3, "A int is not a picture"),
        (None, "A NoneType is not a picture"),
        (b"no picture", "The picture cannot be decoded"),
        (b"", "The picture cannot be decoded"),
        (
            np.zeros((4, 4, 3), np.float32),
            "An array of float32 and shape [4, 4, 3] is not a picture",
        ),
        (np.zeros((4, 4, 4), np.uint8), "An array of uint8 and shape [4, 4, 4] is not a picture"),
    ],
    ids=["int", "None", "bytes", "empty", "float array", "four channels"],
)
def test_what_is_no_picture_is_said(item: Any, said: str, predictor: Predictor) -> None:
    with pytest.raises(DataError) as caught:
        predictor(item)
    assert str(caught.value).startswith(said)


def test_arrays_are_read_only(predictor: Predictor, pictures: Path) -> None:
    array = np.array(Image.open(files(pictures)[0]))
    before = array.copy()
    answer = predictor(array)
    assert (array == before).all()
    array.setflags(write=False)
    assert predictor(array) == answer


# --- batches ------------------------------------------------------------------------------------


def test_free_batches_are_filled(
    batcher: Predictor, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    run = batcher.session.run

    def counting(feeds: Feeds) -> Outputs:
        sizes.append(len(feeds["image"]))
        return run(feeds)

    monkeypatch.setattr(batcher.session, "run", counting)
    batcher(files(pictures)[:11])
    assert sizes == [4, 4, 3]


def test_batches_answer_as_one_by_one(
    batcher: Predictor, predictor: Predictor, pictures: Path
) -> None:
    together = batcher(files(pictures))
    alone = [batcher(file) for file in files(pictures)]
    assert [answer.label for answer in together] == [answer.label for answer in alone]
    for one, other, static in zip(together, alone, predictor(files(pictures)), strict=True):
        np.testing.assert_allclose(
            [each.score for each in one.classes], [each.score for each in other.classes], rtol=1e-4
        )
        assert one.index == static.index


# --- which variant ------------------------------------------------------------------------------

MISSING = "onnxruntime is not installed: pip install onnxruntime"


def test_default_variant_is_the_chosen_one(small_bundle: Path) -> None:
    bundle = Bundle(small_bundle)
    with load(small_bundle) as predictor:
        assert predictor.variant.name == bundle.manifest.default == "onnxruntime-fp32"


@pytest.mark.parametrize("index", range(7))
def test_every_variant_can_be_asked_for(
    index: int, small_bundle: Path, predictor: Predictor, pictures: Path
) -> None:
    variants = Bundle(small_bundle).variants
    if index >= len(variants):
        pytest.skip(f"this machine made {len(variants)} variants")
    with load(small_bundle, variant=variants[index].name, threads=1) as other:
        assert other.variant == variants[index]
        agreed = [a.index == b.index for a, b in zip(
            other(files(pictures)), predictor(files(pictures)), strict=True
        )]  # fmt: skip
        assert sum(agreed) >= 7, "int8 may change answers that are close calls"


def test_an_open_bundle_is_taken_too(opened_bundle: Bundle) -> None:
    with Predictor(opened_bundle) as predictor:
        assert predictor.bundle is opened_bundle


def test_a_missing_engine_is_replaced_with_a_warning(
    small_bundle: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed, so nothing can stand in")
    monkeypatch.setattr(ENGINES.get("onnxruntime"), "available", lambda: MISSING)
    with pytest.warns(UserWarning, match="cannot run here") as told:
        other = load(small_bundle)
    assert other.variant.engine == "openvino"
    assert len(other(files(pictures))) == len(files(pictures))
    (message,) = [str(each.message) for each in told]
    assert message == (
        f"The default variant onnxruntime-fp32 cannot run here: {MISSING}; "
        f"running {other.variant.name} instead"
    )


def test_no_warning_where_the_default_runs(small_bundle: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(small_bundle).close()


def test_a_named_variant_without_its_engine_says_what_to_install(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ENGINES.get("onnxruntime"), "available", lambda: MISSING)
    with pytest.raises(EngineUnavailableError) as caught:
        load(small_bundle, variant="onnxruntime-int8")
    assert str(caught.value) == (
        f"The engine onnxruntime cannot be used here: {MISSING}. "
        "`modelport engines` lists the engines of this machine."
    )


def test_without_any_engine_the_default_one_is_asked_for(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENGINES:
        monkeypatch.setattr(ENGINES.get(name), "available", lambda: MISSING)
    with pytest.raises(EngineUnavailableError, match="onnxruntime is not installed: pip install"):
        load(small_bundle)


def test_a_rejected_variant_is_not_there(small_bundle: Path) -> None:
    with pytest.raises(BundleError) as caught:
        load(small_bundle, variant="onnxruntime-bf16")
    assert str(caught.value).startswith(
        f"The variant 'onnxruntime-bf16' is not in {small_bundle}: ONNX Runtime's CPU provider has no"
    )


def test_an_unknown_variant_is_named(small_bundle: Path) -> None:
    with pytest.raises(BundleFormatError) as caught:
        load(small_bundle, variant="tpu-fp8")
    assert "The bundle has no variant 'tpu-fp8'. Expected one of onnxruntime-fp32," in str(
        caught.value
    )


# --- ready tensors ------------------------------------------------------------------------------


def test_infer_takes_what_the_transforms_make(predictor: Predictor, pictures: Path) -> None:
    assert predictor.preprocessor is not None
    tensor = predictor.preprocessor(files(pictures)[0])
    answer = predictor(files(pictures)[0])
    assert predictor.infer(tensor) == answer
    assert predictor.infer({"image": tensor}) == answer


WRONG_FEEDS: list[tuple[Any, str]] = [
    (
        np.zeros((1, 3, 33, 32), np.float32),
        "The input 'image' has shape [1, 3, 33, 32]. Expected float32 of shape 1x3x32x32. ",
    ),
    (
        np.zeros((3, 32, 32), np.float32),
        "The input 'image' has 3 dimensions, shape [3, 32, 32]. Expected float32 of shape 1x3x32x32. "
        "Add the batch dimension with array[None].",
    ),
    (
        np.zeros((1, 3, 32, 32), np.float64),
        "The input 'image' has element type float64. Expected float32 of shape 1x3x32x32. "
        "Convert it with array.astype('float32').",
    ),
    (
        {"picture": np.zeros((1, 3, 32, 32), np.float32)},
        "The feeds are named ['picture']. Expected exactly ['image'].",
    ),
    ({}, "The feeds are named []. Expected exactly ['image']."),
]


@pytest.mark.parametrize(
    ("feeds", "said"), WRONG_FEEDS, ids=["shape", "rank", "dtype", "name", "none"]
)
def test_wrong_tensors_are_refused_in_words(feeds: Any, said: str, predictor: Predictor) -> None:
    with pytest.raises(FeedsError) as caught:
        predictor.infer(feeds)
    assert str(caught.value).startswith(said)


def test_a_batch_out_of_bounds_is_refused(batcher: Predictor) -> None:
    with pytest.raises(
        FeedsError, match=r"has shape \[5, 3, 32, 32\]\. Expected .* 1\.\.4x3x32x32"
    ):
        batcher.infer(np.zeros((5, 3, 32, 32), np.float32))


def test_a_model_without_transforms_takes_feeds(adder: Predictor) -> None:
    a, b = np.ones((1, 4), np.float32), np.full((1, 4), 2, np.float32)
    result = adder({"a": a, "b": b})
    assert result["total"].tolist() == [[3.0] * 4]
    assert result["difference"].tolist() == [[-1.0] * 4]
    assert list(result.timing_ms) == ["inference", "result"]
    several = adder([{"a": a, "b": b}, {"a": b, "b": a}])
    assert [one["difference"][0, 0] for one in several] == [-1.0, 1.0]


def test_a_model_without_transforms_takes_no_pictures(adder: Predictor, pictures: Path) -> None:
    with pytest.raises(FeedsError) as caught:
        adder(files(pictures)[0])
    assert str(caught.value) == (
        f"The model has no transforms, so a {type(pictures).__name__} cannot become a tensor. "
        "Expected a numpy array, or a dictionary of arrays by input name. "
        "Deploy it with transforms to call it on pictures."
    )


def test_one_array_does_not_feed_two_inputs(adder: Predictor) -> None:
    with pytest.raises(FeedsError, match=r"named \['a'\]\. Expected exactly \['a', 'b'\]"):
        adder(np.zeros((1, 4), np.float32))


# --- life ---------------------------------------------------------------------------------------


def test_a_closed_predictor_says_so(small_bundle: Path, pictures: Path) -> None:
    with load(small_bundle) as predictor:
        predictor(files(pictures)[0])
    predictor.close()
    with pytest.raises(EngineError, match="This onnxruntime session is closed"):
        predictor(files(pictures)[0])


def test_load_is_public() -> None:
    assert modelport.load is load
    assert modelport.Predictor is Predictor


def test_nothing_there_is_said() -> None:
    with pytest.raises(BundleError, match="There is no bundle at nowhere"):
        load("nowhere")

"""Clips become tensors, and classes of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelport import transforms
from modelport.errors import DataError, FeedsError, UsageError
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.classification import Classification
from modelport.runtime.transforms.clip import ClipPreprocessor, Frames
from modelport.runtime.transforms.picture import PicturePreprocessor

Array = np.ndarray[Any, Any]
PICTURE = [
    transforms.Decode(),
    transforms.Resize((8, 10)),
    transforms.Normalize(mean=(0.5,) * 3, std=(0.25,) * 3),
    transforms.Layout(),
]


def clip(frames: int = 12, seed: int = 0) -> Array:
    """Frames x height x width x 3, each of one grey level, so that a frame tells its number."""
    levels = np.arange(frames, dtype=np.uint8) * 20
    return np.broadcast_to(levels[:, None, None, None], (frames, 16, 20, 3)).copy()


def prepared(item: Any, **frames: Any) -> Array:
    return ClipPreprocessor([Frames(**{"count": 4, **frames}), *PICTURE])(item)


def numbers(tensor: Array) -> list[int]:
    """Of the frames in a tensor of 1 x channels x time x height x width."""
    return [round(float(value * 0.25 + 0.5) * 255 / 20) for value in tensor[0, 0, :, 0, 0]]


@pytest.mark.parametrize("total", [1, 3, 4, 10, 11, 300])
@pytest.mark.parametrize("count", [1, 4, 8, 16])
def test_frames_are_chosen_as_the_libraries_do(total: int, count: int) -> None:
    # MMAction2's SampleFrames(clip_len=1, num_clips=count, test_mode=True)
    middles = (np.arange(count) * total / count + total / count / 2).astype(int)
    assert Frames(count=count).chosen(total) == middles.tolist()
    # transformers' examples of VideoMAE
    spread = np.linspace(0, total - 1, num=count).astype(np.int64)
    assert Frames(count=count, sampling="spread").chosen(total) == spread.tolist()
    # MMAction2's SampleFrames(clip_len=count, frame_interval=3, num_clips=1, test_mode=True)
    start = max(total - ((count - 1) * 3 + 1), 0) // 2
    dense = np.mod(start + np.arange(count) * 3, total)
    assert Frames(count=count, sampling="dense", step=3).chosen(total) == dense.tolist()
    last = np.minimum(start + np.arange(count) * 3, total - 1)
    found = Frames(count=count, sampling="dense", step=3, short="last").chosen(total)
    assert found == last.tolist()


def test_each_frame_is_prepared_like_a_picture() -> None:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (6, 16, 20, 3), dtype=np.uint8)
    found = prepared(frames, count=3)
    one = PicturePreprocessor(PICTURE)
    expected = np.stack([one(frames[number])[0] for number in (1, 3, 5)], 1)[None]
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (1, 3, 3, 8, 10)
    turned = prepared(frames, count=3, order="ntchw")
    np.testing.assert_array_equal(turned, expected.transpose(0, 2, 1, 3, 4))


def test_channels_may_be_last() -> None:
    steps = [Frames(count=2, order="nthwc"), transforms.Decode(), transforms.Layout(order="nhwc")]
    assert ClipPreprocessor(steps)(clip()).shape == (1, 2, 16, 20, 3)
    with pytest.raises(UsageError, match=r"stacked to ncthw, and each is nhwc\. Expected a Layout"):
        ClipPreprocessor([Frames(count=2), transforms.Decode(), transforms.Layout(order="nhwc")])


def test_every_form_of_a_clip_gives_the_same(tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in clip()]
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:02}.png")
    pictures[0].save(tmp_path / "clip.png", save_all=True, append_images=pictures[1:])
    pictures[0].save(
        tmp_path / "clip.webp", save_all=True, append_images=pictures[1:], lossless=True
    )
    expected = prepared(clip())
    assert numbers(expected) == [1, 4, 7, 10]
    forms = (
        pictures, tuple(clip()), folder, str(folder), tmp_path / "clip.png", tmp_path / "clip.webp",
        sorted(folder.iterdir()),
    )  # fmt: skip
    for form in forms:
        np.testing.assert_array_equal(prepared(form), expected)
    with Image.open(tmp_path / "clip.png") as animation:
        np.testing.assert_array_equal(prepared(animation), expected)


def test_a_video_is_read_with_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed, which reads videos")
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG")
    for frame in clip():
        writer.write(np.broadcast_to(frame[:1, :1], (48, 64, 3)).copy())
    writer.release()
    found = prepared(path)
    assert numbers(found) == [1, 4, 7, 10]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"The video .*bad\.mp4 cannot be decoded"):
        prepared(tmp_path / "bad.mp4")


def test_what_is_no_clip_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A int is not a clip"):
        prepared(3)
    with pytest.raises(DataError, match=r"A ndarray of shape \[16, 20, 3\] is not a clip"):
        prepared(clip()[0])
    with pytest.raises(DataError, match=r"There is no clip .*missing\.mp4"):
        prepared(tmp_path / "missing.mp4")
    with pytest.raises(DataError, match="The clip has no frames"):
        prepared(tmp_path)
    (tmp_path / "bad.gif").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"The clip .*bad\.gif cannot be decoded"):
        prepared(tmp_path / "bad.gif")


def test_frames_of_two_sizes_do_not_stack() -> None:
    frames = [Image.new("RGB", (8, 8)), Image.new("RGB", (8, 9))]
    steps = [Frames(count=2), transforms.Decode(), transforms.Layout()]
    with pytest.raises(DataError, match="Add a Resize or a CenterCrop to the transforms"):
        ClipPreprocessor(steps)(frames)


def test_a_list_is_one_clip_where_it_holds_pictures() -> None:
    steps = ClipPreprocessor([Frames(count=2), *PICTURE])
    assert steps.is_one([Image.new("RGB", (4, 4))] * 2)
    assert steps.is_one(list(clip()))
    assert not steps.is_one(["a.mp4", "b.mp4"])
    assert not steps.is_one([clip(), clip()])
    assert not steps.is_one([])


def test_the_list_is_data() -> None:
    steps = [Frames(count=8, sampling="dense", step=4), *PICTURE]
    again = transforms.parse(transforms.dump(steps))
    assert again == steps
    assert isinstance(transforms.preprocessor(again), ClipPreprocessor)
    with pytest.raises(UsageError, match=r"The transforms are frames, decode, frames\."):
        ClipPreprocessor([steps[0], transforms.Decode(), steps[0]])


def test_drafts_have_an_exact_form() -> None:
    steps = [Frames(count=2), transforms.Decode(draft=True), *PICTURE[1:]]
    exact = ClipPreprocessor(steps).as_in_training()
    assert isinstance(exact, ClipPreprocessor)
    assert not exact.picture.decode.draft
    assert exact.as_in_training() is None
    assert exact.unit == pytest.approx(1 / 255 / 0.25)


# --- classes of clips ---------------------------------------------------------------------------


def decode(rows: Array, **parameters: Any) -> Classification:
    task = TASKS.get("video_classification")
    found = task.decode({"y": rows}, Context(task.parameters(parameters), ("run", "sit", "jump")))
    assert isinstance(found, Classification)
    return found


def softmax(rows: Array) -> Array:
    power = np.exp(rows - rows.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3)])
def test_views_of_a_clip_are_averaged(shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).standard_normal(shape) * 5
    flat = rows.reshape(-1, 3)
    for how, shares in (
        ("probabilities", softmax(flat).mean(0)),
        ("scores", softmax(flat.mean(0))),
    ):
        found = {each.index: each.score for each in decode(rows, views=how).classes}
        np.testing.assert_allclose([found[index] for index in range(3)], shares, rtol=1e-9)


def test_probabilities_are_averaged_as_they_are() -> None:
    rows = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    found = decode(rows, scores="probabilities", top=1)
    assert (found.label, found.score) == ("sit", pytest.approx(0.525))


def test_one_row_is_a_classification() -> None:
    found = decode(np.array([[1.0, 3.0, 2.0]], np.float32))
    assert found.label == "sit"
    assert found.score == pytest.approx(softmax(np.array([1.0, 3, 2]))[1])
    with pytest.raises(FeedsError, match="Expected class scores of one clip, or rows of them"):
        decode(np.zeros((2, 2, 3)))

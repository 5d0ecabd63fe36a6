"""Words of the command line become inputs, or an error that says why not."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelport.errors import DataError, EngineUnavailableError, UsageError
from modelport.runtime.sources import Item, sources_of
from modelport.runtime.sources.video import Camera, Video

cv2 = pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")

COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
"""Of the frames of a test's video, in turn."""


def write_video(path: Path, frames: int = 9, rate: float = 10.0, code: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        red, green, blue = COLOURS[number % 3]
        writer.write(np.full((48, 64, 3), (blue, green, red), np.uint8))
    writer.release()
    return path


def items_of(*words: str | Path, **options: Any) -> list[Item]:
    return [
        item for source in sources_of([str(word) for word in words], **options) for item in source
    ]


def names(items: list[Item]) -> list[str]:
    return [Path(item.name).name for item in items]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/c.webp", "feeds.npz", "notes.md", "say.wav", "words.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "data"


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("medium", "wanted"),
    [
        ("picture", ["a.PNG", "b.jpg", "c.webp", "feeds.npz"]),
        ("sound", ["feeds.npz", "say.wav"]),
        ("text", ["feeds.npz", "words.txt"]),
    ],
)
def test_a_folder_gives_the_files_of_the_medium(
    medium: str, wanted: list[str], folder: Path
) -> None:
    found = items_of(folder, medium=medium)
    assert names(found) == wanted
    assert all(item.content == item.path == Path(item.name) for item in found)
    (source,) = sources_of([str(folder)], medium=medium)
    assert source.count() == len(wanted)


def test_a_file_that_is_named_is_taken_whatever_its_name(folder: Path) -> None:
    assert names(items_of(folder / "notes.md", folder / "b.jpg")) == ["notes.md", "b.jpg"]


def test_a_pattern_gives_what_matches_sorted(folder: Path) -> None:
    assert names(items_of(folder / "*.[jP]*")) == ["a.PNG", "b.jpg"]
    assert names(items_of(folder / "**" / "*.webp")) == ["c.webp"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    odd = folder / "photo[1].jpg"
    odd.write_bytes(b"x")
    assert names(items_of(odd)) == ["photo[1].jpg"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("missing.jpg", "There is no file or folder missing.jpg. Check the path of the data."),
        ("*.nothing", "No file matches *.nothing. Check the pattern; ** goes through all folders."),
        (
            "empty",
            "The folder empty holds no data. Expected files ending in .avi, .bmp, .jpeg, .jpg",
        ),
    ],
)
def test_what_is_not_there_is_said(
    word: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        sources_of([word])
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "s3", "file", "HTTP"])
@pytest.mark.parametrize("lists", [False, True])
def test_addresses_are_refused_by_name(scheme: str, lists: bool) -> None:
    with pytest.raises(UsageError) as caught:
        sources_of([f"{scheme}://host/photo.jpg"], lists=lists)
    assert str(caught.value).startswith(
        f"{scheme}://host/photo.jpg is an address on a network, and modelport fetches nothing. "
        "Expected a file, a folder, a pattern, camera:0, or - for standard input."
    )


# --- lists and standard input -------------------------------------------------------------------


class Typed:
    """Standard input with these bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_a_list_names_files(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{folder / 'b.jpg'}\n\n{folder / 'gone.jpg'}\r\n{folder / 'a.PNG'}")
    found = items_of(path, lists=True)
    assert names(found) == ["b.jpg", "gone.jpg", "a.PNG"]
    assert [item.error is None for item in found] == [True, False, True]
    assert str(found[1].error) == f"There is no file {found[1].name}. Check the lines of the list."
    assert sources_of([str(path)], lists=True)[0].count() is None


def test_a_list_is_read_as_it_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = Typed(f"{folder / 'b.jpg'}\n".encode() * 100_000)
    monkeypatch.setattr(sys, "stdin", typed)
    items = iter(sources_of(["-"], lists=True)[0])
    assert Path(next(items).name).name == "b.jpg"
    assert typed.buffer.tell() < 1_000_000
    items.close()


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no list .*gone\.txt"):
        sources_of([str(tmp_path / "gone.txt")], lists=True)


@pytest.mark.parametrize(
    ("medium", "content", "wanted"),
    [("picture", b"\xff\xd8", b"\xff\xd8"), ("text", "grüß".encode(), "grüß")],
)
def test_standard_input_is_one_input(
    medium: str, content: bytes, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(content))
    (item,) = items_of("-", medium=medium)
    assert (item.name, item.content, item.error) == ("-", wanted, None)


@pytest.mark.parametrize(
    ("medium", "content", "said"),
    [
        ("picture", b"", "Nothing came on standard input."),
        ("text", b"\xff\xff", "Standard input is no text: 'utf-8' codec can't decode"),
    ],
)
def test_standard_input_that_is_of_no_use(
    medium: str, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(content))
    (item,) = items_of("-", medium=medium)
    assert str(item.error).startswith(said)


def test_standard_input_is_there_once() -> None:
    with pytest.raises(UsageError, match="named more than once"):
        sources_of(["-", "-"])


# --- videos -------------------------------------------------------------------------------------


def colour(item: Item) -> tuple[int, ...]:
    return tuple(int(round(value, -1)) for value in item.content.reshape(-1, 3).mean(0))


@pytest.mark.parametrize(("every", "wanted"), [(1, range(9)), (2, range(0, 9, 2)), (20, [0])])
def test_a_video_gives_its_frames(every: int, wanted: list[int], tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi")
    found = items_of(path, every=every)
    assert [item.frame for item in found] == list(wanted)
    assert [item.seconds for item in found] == pytest.approx([n / 10 for n in wanted], abs=0.051)
    assert all(item.rate == 10 / every for item in found)
    for item in found:
        assert item.content.dtype == np.uint8
        assert item.content.shape == (48, 64, 3)
        assert np.abs(np.subtract(colour(item), COLOURS[item.frame % 3])).max() <= 20, "RGB order"
    assert sources_of([str(path)], every=every)[0].count() == len(found)
    assert found[0].to_json() == {"file": str(path), "frame": 0, "time_s": 0.0}


def test_videos_of_a_folder_are_taken_with_its_pictures(folder: Path) -> None:
    write_video(folder / "clip.avi", frames=2)
    found = items_of(folder)
    assert names(found) == ["a.PNG", "b.jpg", "clip.avi", "clip.avi", "c.webp", "feeds.npz"]
    assert sources_of([str(folder)])[0].count() == 6


def test_a_model_of_sound_is_given_the_video_itself(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", frames=2)
    (item,) = items_of(path, medium="sound")
    assert item.content == path


@pytest.mark.parametrize("content", [b"", b"no video", bytes(5000)])
def test_what_is_no_video_is_said(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    (item,) = items_of(path)
    assert str(item.error).startswith(f"{path} cannot be read as a video.")
    assert sources_of([str(path)])[0].count() == 1


def test_a_video_that_ends_early_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", frames=60).read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(whole[: len(whole) // 2])
    *found, last = items_of(path)
    assert 10 < len(found) < 50
    assert [item.frame for item in found] == list(range(len(found)))
    assert all(item.error is None for item in found)
    assert str(last.error).startswith(f"{path} ends after {len(found)} of 60 frames.")


def test_without_opencv_there_are_no_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.avi", frames=1)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EngineUnavailableError) as caught:
        items_of(path)
    assert str(caught.value) == (
        "Videos and cameras are read by OpenCV, which is not installed. "
        'Install it with: pip install "modelport[opencv]".'
    )


class Capture:
    """Stands for a camera: so many frames, then nothing."""

    def __init__(self, frames: int, lame: int = -1) -> None:
        self.left, self.lame, self.released, self.given = frames, lame, False, 0

    def isOpened(self) -> bool:
        return self.left >= 0

    def get(self, key: int) -> float:
        return 30.0 if key == cv2.CAP_PROP_FPS else -1.0

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        self.given += 1
        if self.given - 1 == self.lame:
            return False, None
        return True, np.full((4, 6, 3), (1, 2, 3), np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[[Capture], list[Any]]:
    def plug(capture: Capture) -> list[Any]:
        asked: list[Any] = []
        monkeypatch.setattr(cv2, "VideoCapture", lambda device: (asked.append(device), capture)[1])
        return asked

    return plug


@pytest.mark.parametrize(
    ("word", "device"),
    [("camera", 0), ("camera:0", 0), ("camera:2", 2), ("/dev/video3", "/dev/video3")],
)
def test_a_camera_goes_on_until_it_is_unplugged(
    word: str, device: Any, plug: Callable[[Capture], list[Any]]
) -> None:
    capture = Capture(5)
    asked = plug(capture)
    (source,) = sources_of([word], every=2)
    assert (source.endless, source.count()) == (True, None)
    *found, last = list(source)
    assert asked == [device]
    assert [item.frame for item in found] == [0, 2, 4]
    assert found[0].content[0, 0].tolist() == [3, 2, 1], "RGB order"
    assert found[0].seconds == 0
    assert all(item.rate == 15 for item in found)
    assert str(last.error) == (
        f"camera:{device} gives no more pictures after 5 frames. Check that it is still plugged in."
    )
    assert capture.released


def test_a_camera_that_is_not_there(plug: Callable[[Capture], list[Any]]) -> None:
    plug(Capture(-1))
    (item,) = list(Camera(7))
    assert str(item.error).startswith("camera:7 cannot be opened. Check that the camera is plugged")


def test_a_file_may_be_called_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "camera", "PNG")
    (item,) = items_of("camera")
    assert item.path == Path("camera")


def test_whoever_stops_early_frees_the_camera(plug: Callable[[Capture], list[Any]]) -> None:
    capture = Capture(1000)
    plug(capture)
    frames = iter(Camera(0))
    next(frames)
    frames.close()
    assert capture.released


def test_a_frame_that_cannot_be_decoded_is_said_in_its_place(
    plug: Callable[[Capture], list[Any]], tmp_path: Path
) -> None:
    plug(Capture(4, lame=1))
    found = list(Video(tmp_path / "clip.mp4"))
    assert [item.frame for item in found] == [0, 1, 2, 3]
    assert [item.error is None for item in found] == [True, False, True, True]
    assert str(found[1].error) == f"Frame 1 of {tmp_path / 'clip.mp4'} cannot be decoded."


def test_titles_tell_frames_apart() -> None:
    assert Item("a.jpg").title == "a.jpg"
    assert Item("a.mp4", frame=3, seconds=0.125).title == "a.mp4 frame 3 at 0.12 s"

"""`modelport run` on everything that a folder of a customer may hold: each has a defined answer."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support import Ran, entries, picture

Cli = Callable[..., Ran]


def noted(done: Ran) -> list[str]:
    """What was said of single inputs."""
    return [line for line in done.stderr.splitlines() if line.startswith("Failed: ")]


def png_of(width: int, height: int) -> bytes:
    """A PNG whose head promises so many pixels, and that has hardly any."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _plain(folder: Path, name: str = "good.png", **save: Any) -> Path:
    path = folder / name
    picture(3, (64, 48)).save(path, **save)
    return path


def _written(content: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "bad.jpg"
        picture(3, (64, 48)).save(path, quality=90)
        path.write_bytes(content(path.read_bytes()))
        return path

    return make


def _unreadable(folder: Path) -> Path:
    path = folder / "bad.jpg"
    path.symlink_to(path)  # whoever opens it goes round in circles; a mode would not stop root
    return path


BAD: dict[str, Callable[[Path], Path]] = {
    "zero bytes": _written(lambda _: b""),
    "truncated": _written(lambda whole: whole[: len(whole) // 3]),
    "text": _written(lambda _: b"<html>404 not found</html>"),
    "huge": _written(lambda _: png_of(60_000, 60_000)),
    "too large to be true": _written(lambda _: png_of(2**31 - 1, 2**31 - 1)),
    "no pixels": _written(lambda _: png_of(0, 10)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_among_good_ones_is_told_and_the_others_are_answered(
    kind: str, cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    good, bad = _plain(tmp_path), BAD[kind](tmp_path)
    lines = tmp_path / "answers.jsonl"
    done = cli("run", small_bundle, good, bad, good, "--jsonl", lines)
    assert done.status == 1, "some failed"
    (said,) = noted(done)
    assert said.startswith(f"Failed: {bad} cannot be decoded (")
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert ["error" in each for each in found] == [False, True, False]
    assert found[0]["label"] == found[2]["label"]
    assert "2 answered, 1 failed in" in done.stdout


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_alone_is_an_error(
    kind: str, cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    bad = BAD[kind](tmp_path)
    done = cli("run", small_bundle, bad)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {bad} cannot be decoded (")
    assert done.stderr.count("\n") == 1


def test_a_file_that_cannot_be_opened_is_no_file(
    cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    bad = _unreadable(tmp_path)
    done = cli("run", small_bundle, bad)
    assert done.status == 2
    assert done.stderr.startswith("Error: ")
    assert str(bad) in done.stderr


def test_nothing_but_bad_pictures_is_an_error(cli: Cli, small_bundle: Path, tmp_path: Path) -> None:
    bad = BAD["zero bytes"](tmp_path)
    shutil.copy(bad, tmp_path / "worse.jpg")
    done = cli("run", small_bundle, tmp_path, "--json")
    assert done.status == 2
    assert len(noted(done)) == 2
    assert done.stderr.splitlines()[-1] == (
        "Error: None of the 2 inputs could be answered. The reasons are above."
    )
    assert [sorted(each) for each in done.json] == [["error", "file", "timing_ms"]] * 2


ODD: dict[str, Callable[[Image.Image, Path], Path]] = {}


def odd(make: Callable[[Image.Image, Path], Path]) -> Callable[[Image.Image, Path], Path]:
    ODD[make.__name__] = make
    return make


@odd
def cmyk(image: Image.Image, folder: Path) -> Path:
    path = folder / "cmyk.tif"
    image.convert("CMYK").save(path)
    return path


@odd
def alpha(image: Image.Image, folder: Path) -> Path:
    path = folder / "alpha.png"
    whole = image.copy()
    whole.putalpha(255)
    whole.save(path)
    return path


@odd
def animated(image: Image.Image, folder: Path) -> Path:
    """Its first frame counts."""
    path = folder / "animated.webp"
    others = [picture(seed, image.size) for seed in (50, 51)]
    image.save(path, save_all=True, append_images=others, lossless=True)
    return path


@odd
def pages(image: Image.Image, folder: Path) -> Path:
    """The first page of a TIFF counts."""
    path = folder / "pages.tif"
    image.save(path, save_all=True, append_images=[picture(50, image.size)])
    return path


@odd
def odd_name(image: Image.Image, folder: Path) -> Path:
    path = folder / "a [b] 'c' \u00e9.png"
    image.save(path)
    return path


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_picture_is_answered_like_a_plain_one(
    kind: str, cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    image = picture(3, (64, 48))
    plain, other = _plain(tmp_path), ODD[kind](image, tmp_path)
    done = cli("run", small_bundle, plain, other, "--json")
    assert done.status == 0, done.stderr
    one, two = done.json
    assert two["file"] == str(other)
    assert two["label"] == one["label"]
    assert two["score"] == pytest.approx(one["score"], abs=0.02)


def test_a_palette_answers_for_its_colours(cli: Cli, small_bundle: Path, tmp_path: Path) -> None:
    reduced = picture(3, (64, 48)).quantize(64)
    reduced.save(tmp_path / "palette.png")
    reduced.convert("RGB").save(tmp_path / "plain.png")
    one, two = cli(
        "run", small_bundle, tmp_path / "palette.png", tmp_path / "plain.png", "--json"
    ).json
    assert (one["label"], one["score"]) == (two["label"], pytest.approx(two["score"]))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_their_upper_eight(
    suffix: str, cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    """PIL alone would cut everything off that is above 255, and so see a white picture."""
    grey = np.asarray(picture(3, (64, 48)).convert("L"))
    deep = grey.astype(np.uint16) * 256 + 77
    Image.fromarray(deep).save(tmp_path / f"deep.{suffix}")
    Image.fromarray(grey).save(tmp_path / "plain.png")
    one, two = cli(
        "run", small_bundle, tmp_path / f"deep.{suffix}", tmp_path / "plain.png", "--json"
    ).json
    assert (one["label"], one["score"]) == (two["label"], pytest.approx(two["score"]))


def test_exif_turns_a_picture_where_the_transforms_say_so(
    cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    """Those of this bundle say `ignore`, as PIL does; `test_transforms.py` has the other."""
    image = picture(3, (64, 48))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    plain = _plain(tmp_path)
    one, two = cli("run", small_bundle, tmp_path / "turned.png", plain, "--json").json
    assert one["score"] == pytest.approx(two["score"])


# --- folders and lists --------------------------------------------------------------------------


def test_an_empty_list(cli: Cli, small_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\n\n")
    done = cli("run", small_bundle, path, "--list", "--csv", tmp_path / "a.csv")
    assert done.status == 2
    assert done.stderr == (
        "Error: There is nothing to answer for. Check that the inputs are not empty.\n"
    )


def test_a_folder_that_is_called_like_a_picture(
    cli: Cli, small_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "album.jpg").mkdir()
    _plain(tmp_path / "album.jpg")
    (found,) = cli("run", small_bundle, tmp_path, "--json").json
    assert Path(found["file"]) == tmp_path / "album.jpg" / "good.png"


def test_a_file_that_goes_away_meanwhile(
    cli: Cli, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, gone = _plain(tmp_path), _plain(tmp_path, "gone.png")
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda self: self != gone and is_file(self))
    done = cli("run", small_bundle, good, gone)
    assert done.status == 1
    assert noted(done) == [f"Failed: There is no picture {gone}. Check the path."]


# --- videos and cameras -------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for seed in range(40):
        writer.write(np.asarray(picture(seed, (64, 48)))[:, :, ::-1].copy())
    writer.release()
    return path


def test_a_video_that_ends_early(cli: Cli, small_bundle: Path, clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    drawn = tmp_path / "drawn"
    done = cli("run", small_bundle, clip, "--json", "--draw", drawn)
    assert done.status == 1
    *found, last = done.json
    assert 5 < len(found) < 38
    assert [each["frame"] for each in found] == list(range(len(found)))
    assert last["error"].startswith(f"{clip} ends after {len(found)} of 40 frames.")
    assert list(entries(drawn)) == ["clip.mp4"], "what there was is drawn"


def test_what_is_no_video(cli: Cli, small_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(3000))
    done = cli("run", small_bundle, path)
    assert done.status == 2
    assert done.stderr.startswith(f"Error: {path} cannot be read as a video.")


def test_no_camera_is_there(cli: Cli, small_bundle: Path) -> None:
    pytest.importorskip("cv2", reason="opencv is not installed, so there are no cameras")
    if os.path.exists("/dev/video97"):
        pytest.skip("this machine has a camera of the number 97")
    done = cli("run", small_bundle, "camera:97")
    assert done.status == 2
    assert done.stderr.startswith("Error: camera:97 cannot be opened.")


class Camera:
    """Gives so many pictures; then it is unplugged, or the user stops the program."""

    def __init__(self, frames: int, stop: bool) -> None:
        self.left, self.stop, self.released = frames, stop, False

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0

    def grab(self) -> bool:
        self.left -= 1
        if self.left < 0 and self.stop:
            raise KeyboardInterrupt
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.asarray(picture(self.left, (64, 48)))

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize("stop", [False, True], ids=["unplugged", "stopped"])
def test_a_camera_that_is_unplugged_failed_and_one_that_is_stopped_is_done(
    stop: bool, cli: Cli, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed, so there are no cameras")
    camera = Camera(6, stop)
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: camera)
    lines = tmp_path / "answers.jsonl"
    done = cli("run", small_bundle, "camera", "--jsonl", lines, "--draw", tmp_path / "drawn")
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    answered = [each for each in found if "error" not in each]
    assert camera.released
    assert [each["frame"] for each in answered] == list(range(len(answered)))
    if stop:
        assert done.status == 0, done.stderr
        assert len(answered) == 6, "what was under way is dropped"
    else:
        assert done.status == 1
        assert len(answered) == 6
        assert noted(done)[0].startswith("Failed: camera:0 gives no more pictures after 6 frames.")
    assert list(entries(tmp_path / "drawn")) == ["camera0.mp4"]


def test_without_opencv_a_video_is_an_error_that_says_what_to_install(
    cli: Cli, small_bundle: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    done = cli("run", small_bundle, clip)
    assert done.status == 2
    assert done.stderr.startswith("Error: Videos and cameras are read by OpenCV, which is not")
    assert 'pip install "modelport[opencv]"' in done.stderr

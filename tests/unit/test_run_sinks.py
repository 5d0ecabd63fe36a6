"""Results are written as they come, and are there under their name when all of them came."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_steps import wait_until
from PIL import Image

from modelport.errors import DataError, UsageError
from modelport.runtime.decoding.rle import mask_from_rle
from modelport.runtime.decoding.skeletons import SKELETONS
from modelport.runtime.failed import Failed
from modelport.runtime.sinks import Sink, opened
from modelport.runtime.sinks.coco import Coco, Ids, entries_of
from modelport.runtime.sinks.drawings import Drawings
from modelport.runtime.sinks.film import Film
from modelport.runtime.sinks.lines import JsonLines, JsonLinesOut
from modelport.runtime.sinks.table import Table
from modelport.runtime.sources import Item
from modelport.runtime.tasks.base import Result
from modelport.runtime.tasks.detection import Detection, Detections
from modelport.runtime.tasks.instance_segmentation import Instance, Instances
from modelport.runtime.tasks.pose import Posed, Poses
from support import entries

FAILED = Failed(DataError("no.png cannot be read"))
TWO = Detections(
    (
        Detection((1.0, 2.0, 11.5, 7.25), "dog, small", 16, 0.875),
        Detection((0.0, 0.0, 3.0, 3.0), "cat", 15, 0.5),
    ),
    timing_ms={"decode": 1.23456, "inference": 2.0},
)


def item(name: str, **more: Any) -> Item:
    return Item(name, Path(name), Path(name), **more)


def written(sink: Sink, *pairs: tuple[Item, Result]) -> list[str]:
    notes: list[str] = []
    with opened([sink], notes):
        for one, result in pairs:
            sink.write(one, result)
    return notes


class StoppedError(Exception):
    pass


def cut_short(sink: Sink, *pairs: tuple[Item, Result]) -> list[str]:
    notes: list[str] = []

    def run() -> None:
        with opened([sink], notes):
            for one, result in pairs:
                sink.write(one, result)
            raise StoppedError

    with pytest.raises(StoppedError):
        run()
    return notes


# --- JSON lines ---------------------------------------------------------------------------------

PAIRS = [
    (item("a.jpg"), TWO),
    (item("clip.mp4", frame=3, seconds=0.1234567), Detections(())),
    (item("no.png"), FAILED),
]
OBJECTS: list[dict[str, Any]] = [
    {
        "file": "a.jpg",
        "objects": [each.to_json() for each in TWO.objects],
        "timing_ms": {"decode": 1.235, "inference": 2.0},
    },
    {"file": "clip.mp4", "frame": 3, "time_s": 0.123457, "objects": [], "timing_ms": {}},
    {"file": "no.png", "error": "no.png cannot be read.", "timing_ms": {}},
]


def test_lines_are_objects(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    assert written(JsonLines(path), *PAIRS) == []
    assert [json.loads(line) for line in path.read_text().splitlines()] == OBJECTS
    assert list(entries(path.parent)) == ["answers.jsonl"]


def test_lines_are_there_at_once_and_stay_where_a_run_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    part = tmp_path / "answers.jsonl.part"
    sink = JsonLines(path)
    sink.open()
    sink.write(*PAIRS[0])
    assert json.loads(part.read_text()) == OBJECTS[0]
    assert sink.close(whole=False) == [f"The lines so far are in {part}"]
    assert not path.exists()
    assert json.loads(part.read_text()) == OBJECTS[0]


def test_lines_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    written(JsonLinesOut(), *PAIRS)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == OBJECTS


# --- tables -------------------------------------------------------------------------------------


def test_a_table_has_a_row_for_each_thing(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    written(Table(path), *PAIRS)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "file",
        "left",
        "top",
        "right",
        "bottom",
        "label",
        "index",
        "score",
        "error",
    ]
    assert [row["file"] for row in rows] == ["a.jpg", "a.jpg", "no.png"], "nothing found, no row"
    assert rows[0]["label"] == "dog, small"
    assert float(rows[0]["right"]) == 11.5
    assert rows[2]["error"] == "no.png cannot be read."
    assert rows[2]["label"] == ""
    assert list(entries(tmp_path)) == ["answers.csv"]


def test_a_table_of_frames_tells_when(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    written(Table(path), (item("clip.mp4", frame=7, seconds=0.5), TWO))
    head, first, _ = path.read_text().splitlines()
    assert head.startswith("file,frame,time_s,left,")
    assert first.startswith("clip.mp4,7,0.5,1.0,")


def test_a_table_without_rows_has_a_head(tmp_path: Path) -> None:
    written(Table(tmp_path / "answers.csv"))
    assert (tmp_path / "answers.csv").read_text() == "file\n"


# --- COCO ---------------------------------------------------------------------------------------


def test_coco_takes_boxes(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    written(
        Coco(path),
        (item("deep/000000000139.jpg"), TWO),
        (item("no.png"), FAILED),
        (item("dog.jpg"), TWO),
        (item("empty.jpg"), Detections(())),
    )
    found = json.loads(path.read_text())
    assert [each["image_id"] for each in found] == [139, 139, "dog.jpg", "dog.jpg"]
    assert found[0] == {
        "image_id": 139,
        "category_id": 16,
        "bbox": [1.0, 2.0, 10.5, 5.25],
        "score": 0.875,
    }
    assert list(entries(tmp_path)) == ["answers.json"]


def test_coco_without_anything_found_is_an_empty_list(tmp_path: Path) -> None:
    written(Coco(tmp_path / "answers.json"))
    assert json.loads((tmp_path / "answers.json").read_text()) == []


def annotations(folder: Path, **changes: Any) -> Path:
    content = {
        "images": [{"id": 77, "file_name": "a.jpg"}],
        "categories": [{"id": 18, "name": "dog, small"}, {"id": 17, "name": "cat"}],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_coco_takes_the_ids_of_annotations(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    written(Coco(path, Ids.read(annotations(tmp_path))), (item("deep/a.jpg"), TWO))
    found = json.loads(path.read_text())
    assert [(each["image_id"], each["category_id"]) for each in found] == [(77, 18), (77, 17)]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("b.jpg", {}, "b.jpg is not among the pictures of the COCO annotations."),
        (
            "a.jpg",
            {"categories": [{"id": 1, "name": "cat"}]},
            "The class 'dog, small' is not among the categories of the COCO annotations. Expected one of "
            "its 1, such as cat.",
        ),
    ],
)
def test_coco_names_what_annotations_lack(
    name: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    sink = Coco(tmp_path / "answers.json", Ids.read(annotations(tmp_path, **changes)))
    with pytest.raises(DataError) as caught:
        written(sink, (item(name), TWO))
    assert str(caught.value).startswith(said)
    assert list(entries(tmp_path)) == ["annotations.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [3], "categories": []}'])
def test_what_are_no_annotations_is_said(content: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"annotations\.json cannot be read as COCO annotations"):
        Ids.read(path)


def test_coco_takes_masks() -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:8] = True
    one = Instance((2, 1, 8, 4), "cat", 3, 0.5, mask[1:5, 2:9], (2, 1), (9, 6))
    (entry,) = entries_of(Instances((one,)))
    assert (entry["index"], entry["label"]) == (3, "cat")
    assert (mask_from_rle(entry["found"]["segmentation"]) == mask).all()
    assert entry["found"]["bbox"] == [2, 1, 6, 3]


def test_coco_takes_keypoints() -> None:
    points = np.array([[0.5, 10.5], [7.25, 3.0]])
    one = Posed(points, np.array([0.5, 0.25]), 0.75)
    (entry,) = entries_of(Poses((one,), SKELETONS["coco17"], 0.3))
    assert (entry["index"], entry["label"]) == (1, "person")
    assert entry["found"] == {"score": 0.75, "keypoints": [0, 10, 1, 6.75, 2.5, 1]}


def test_coco_refuses_what_has_no_boxes() -> None:
    with pytest.raises(UsageError, match=r"A Failed has no place in COCO's format of results\."):
        entries_of(FAILED)


# --- drawings -----------------------------------------------------------------------------------


class Draws:
    """Paints the upper left corner in the colour that the result says."""

    def draw(self, image: Image.Image, result: Any) -> Image.Image:
        drawn = image.copy()
        drawn.paste(tuple(result.outputs), (0, 0, 2, 2))
        return drawn


@dataclass(frozen=True)
class Colour(Result):
    outputs: tuple[int, int, int]


RED = Colour((255, 0, 0))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    Image.new("RGB", (20, 10), (9, 9, 9)).save(path)
    return path


def test_pictures_are_drawn_under_their_names(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "drawn"
    assert written(Drawings(folder, Draws()), (item(str(photo)), RED)) == []
    with Image.open(folder / "photo.png") as drawn:
        assert drawn.size == (20, 10)
        assert drawn.getpixel((0, 0)) == (255, 0, 0)
        assert drawn.getpixel((9, 9)) == (9, 9, 9)
    assert list(entries(folder)) == ["photo.png"]


def test_pictures_of_one_name_get_numbers(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    colours = [(number, 0, 0) for number in range(1, 30)]
    written(Drawings(folder, Draws()), *[(item(str(photo)), Colour(each)) for each in colours])
    found = ["photo.png", *(f"photo_{number}.png" for number in range(2, 30))]
    assert sorted(entries(folder)) == sorted(found)
    for name, colour in zip(found, colours, strict=True):
        with Image.open(folder / name) as drawn:
            assert drawn.getpixel((0, 0)) == colour


@pytest.mark.parametrize(("orientation", "size"), [("ignore", (20, 10)), ("exif", (10, 20))])
def test_pictures_are_turned_as_the_transforms_turn_them(
    orientation: str, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "turned.jpg"
    image = Image.new("RGB", (20, 10))
    image.getexif()[0x0112] = 6
    image.save(path, exif=image.getexif())
    written(Drawings(tmp_path / "drawn", Draws(), orientation), (item(str(path)), RED))
    with Image.open(tmp_path / "drawn" / "turned.png") as drawn:
        assert drawn.size == size


def test_nothing_is_drawn_of_what_failed_or_is_no_picture(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    feeds = Item("feeds.npy", Path("feeds.npy"), Path("feeds.npy"))
    text = Item("-", "words")
    notes = written(Drawings(folder, Draws()), (feeds, RED), (text, RED), (item("x.png"), FAILED))
    assert notes == ["2 inputs are no pictures, and nothing was drawn of them"]
    assert not folder.exists()


def test_bytes_of_standard_input_are_drawn(photo: Path, tmp_path: Path) -> None:
    written(Drawings(tmp_path / "drawn", Draws()), (Item("-", photo.read_bytes()), RED))
    assert list(entries(tmp_path / "drawn")) == ["stdin.png"]


def frames(name: str, count: int, rate: float = 12.5) -> Iterator[tuple[Item, Result]]:
    for number in range(count):
        pixels = np.full((31, 40, 3), 20 * number % 256, np.uint8)
        shown = Item(name, pixels, frame=number, seconds=number / rate, rate=rate)
        yield shown, Colour((255, 255, 255))


def test_frames_become_a_video(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    folder = tmp_path / "drawn"
    pairs = [*frames("one.avi", 9), *frames("other/one.mp4", 4), *frames("camera:0", 2)]
    written(Drawings(folder, Draws()), *pairs)
    assert sorted(entries(folder)) == ["camera0.mp4", "one.mp4", "one_2.mp4"]
    for name, count in (("one.mp4", 9), ("one_2.mp4", 4), ("camera0.mp4", 2)):
        capture = cv2.VideoCapture(str(folder / name))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == count
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5, rel=0.01)
        for number in range(count):
            whole, pixels = capture.read()
            assert whole
            assert pixels.shape == (30, 40, 3), "its codec takes even sides"
            assert abs(float(pixels[20:, 20:].mean()) - 20 * number) < 8
        capture.release()


@pytest.mark.parametrize("count", [3, 40])
def test_drawings_that_are_cut_short_leave_no_half(count: int, photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    folder = tmp_path / "drawn"
    cut_short(Drawings(folder, Draws()), (item(str(photo)), RED), *frames("one.avi", count))
    assert wait_until(lambda: not [name for name in entries(folder) if "part" in name])
    assert "one.mp4" not in list(entries(folder))


class Writer:
    """Stands for OpenCV's where it cannot write."""

    def __init__(self, opens: bool) -> None:
        self._opens = opens

    def isOpened(self) -> bool:
        return self._opens

    def write(self, pixels: Any) -> None: ...

    def release(self) -> None: ...


@pytest.mark.parametrize("opens", [False, True], ids=["no encoder", "nothing written"])
def test_a_video_that_cannot_be_written_is_said(
    opens: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    monkeypatch.setattr(cv2, "VideoWriter", lambda *_: Writer(opens))
    film = Film("wide.avi", tmp_path / "wide.mp4", 25)

    def write() -> None:
        film.add(Image.new("RGB", (641, 480)))
        film.close(whole=True)

    with pytest.raises(DataError) as caught:
        write()
    assert str(caught.value) == (
        f"{tmp_path / 'wide.mp4'} cannot be written: OpenCV encodes no video of 640x480 pixels at 25 "
        "frames a second there. Check that the disk has room, or leave --draw out."
    )
    assert list(entries(tmp_path)) == []


def test_a_video_of_one_pixel_is_one_of_four(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    film = Film("small.avi", tmp_path / "small.mp4", 25)
    film.add(Image.new("RGB", (1, 1)))
    film.close(whole=True)
    assert list(entries(tmp_path)) == ["small.mp4"]


# --- all of them --------------------------------------------------------------------------------


def test_what_is_cut_short_is_not_there_but_for_lines(tmp_path: Path) -> None:
    for sink in (Table(tmp_path / "a.csv"), Coco(tmp_path / "a.json")):
        assert cut_short(sink, PAIRS[0]) == []
    assert list(entries(tmp_path)) == []
    assert cut_short(JsonLines(tmp_path / "a.jsonl"), PAIRS[0])
    assert list(entries(tmp_path)) == ["a.jsonl.part"]


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    cut_short(Table(path), PAIRS[0])
    assert path.read_text() == "old"
    written(Table(path), PAIRS[0])
    assert path.read_text().startswith("file,")


def test_one_sink_that_fails_keeps_no_other_from_closing(tmp_path: Path) -> None:
    class Fails(JsonLines):
        def _finish(self, whole: bool) -> None:
            super()._finish(whole)
            raise OSError("the disk is full")

    sinks = [Fails(tmp_path / "a.jsonl"), Table(tmp_path / "a.csv")]

    def run() -> None:
        with opened(sinks, []):
            sinks[1].write(*PAIRS[0])

    with pytest.raises(OSError, match="disk is full"):
        run()
    assert list(entries(tmp_path)) == ["a.csv"]


def test_a_sink_that_cannot_be_opened_closes_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sinks = [Table(tmp_path / "a.csv"), JsonLines(tmp_path / "file" / "a.jsonl")]

    def run() -> None:
        with opened(sinks, []):
            raise AssertionError("not reached")

    with pytest.raises(OSError, match="file"):
        run()
    assert list(entries(tmp_path)) == ["file"]

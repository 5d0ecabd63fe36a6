"""`modelport run` as people use it: real photos, a video of them, and every way to have the results."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modelport
from modelport.runtime.failed import Failed
from support import command, entries

RIGHT = 18
"""Of the demo's 20 photos, as `test_mobilenet.py` has it."""


@pytest.fixture(scope="module")
def photos(demo_data: Path) -> list[Path]:
    return sorted((demo_data / "photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def bundle(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(__file__).parents[2]
    path = tmp_path_factory.mktemp("run") / "mobilenet"
    modelport.deploy(
        f"{root / 'examples' / 'mobilenet_v2.py'}:build",
        output=path,
        weights=demo_data / "mobilenet_v2.pth",
        labels=demo_data / "labels.txt",
        engines=["onnxruntime"],
        precisions=["fp32"],
        threads=1,
        report=False,
    )
    return path


def wanted(path: str | Path) -> int:
    return int(Path(path).stem.rsplit("_", 1)[1])


def test_map_answers_for_real_photos_as_one_by_one(bundle: Path, photos: list[Path]) -> None:
    with modelport.load(bundle, threads=1) as predictor:
        found = list(predictor.map([*photos, "missing.jpg"]))
        assert isinstance(found.pop(), Failed)
        assert found == [predictor(photo) for photo in photos]
        right = [a.index == wanted(photo) for a, photo in zip(found, photos, strict=True)]
        assert sum(right) == RIGHT


def test_everything_at_once(bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(photos[0].read_bytes()[:3000])
    done = command(
        "run", bundle, photos[0].parent, tmp_path / "*.jpg",
        "--jsonl", tmp_path / "a.jsonl", "--csv", tmp_path / "a.csv", "--draw", tmp_path / "drawn",
        "--workers", "2",
    )  # fmt: skip
    assert done.status == 1, done.stderr
    assert done.stderr.startswith(f"Failed: {tmp_path / 'broken.jpg'} cannot be decoded (")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [each["file"] for each in lines] == [*map(str, photos), str(tmp_path / "broken.jpg")]
    assert "error" in lines.pop()
    right = [each["classes"][0]["index"] == wanted(each["file"]) for each in lines]
    assert sum(right) == RIGHT
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [*(each["label"] for each in lines), ""]
    assert sorted(entries(tmp_path / "drawn")) == [f"{photo.stem}.png" for photo in photos]
    drawn = tmp_path / "drawn" / f"{photos[0].stem}.png"
    with Image.open(drawn) as after, Image.open(photos[0]) as before:
        assert after.size == before.size
    assert re.search(r"^20 answered, 1 failed in \d+\.\d\d s, \d+\.\d a second;", done.stdout, re.M)
    for stage in ("decode", "resize", "normalize", "inference", "result"):
        assert re.search(rf"^{stage} +\d+\.\d\d +\d+%$", done.stdout, re.M)


def test_a_video_of_photos(bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed, so there are no videos")
    clip, sides = tmp_path / "clip.mp4", (320, 240)
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"mp4v"), 20.0, sides)
    for photo in photos[:6]:
        pixels = np.asarray(Image.open(photo).convert("RGB").resize(sides))
        for _ in range(4):
            writer.write(np.ascontiguousarray(pixels[:, :, ::-1]))
    writer.release()
    drawn = tmp_path / "drawn"
    done = command("run", bundle, clip, "--every", "4", "--limit", "5", "--json", "--draw", drawn)
    assert done.status == 0, done.stderr
    assert [each["frame"] for each in done.json] == [0, 4, 8, 12, 16]
    assert [each["time_s"] for each in done.json] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    with modelport.load(bundle, threads=1) as predictor:
        capture = cv2.VideoCapture(str(clip))
        for number in range(17):
            pixels = capture.read()[1][:, :, ::-1]
            if number % 4 == 0:
                answer = predictor(np.ascontiguousarray(pixels))
                assert done.json[number // 4]["label"] == answer.label
    film = cv2.VideoCapture(str(drawn / "clip.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(5)


def program(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "modelport.cli", *map(str, arguments)]


def test_a_picture_on_standard_input(bundle: Path, photos: list[Path]) -> None:
    with photos[0].open("rb") as file:
        done = subprocess.run(
            program("run", bundle, "-", "--json"), stdin=file, capture_output=True, check=True
        )
    (found,) = json.loads(done.stdout)
    assert found["file"] == "-"
    assert found["classes"][0]["index"] == wanted(photos[0])


def test_a_list_on_standard_input_is_answered_line_by_line(
    bundle: Path, photos: list[Path]
) -> None:
    """Results go out while the list still comes in: nobody waits for its end."""
    running = subprocess.Popen(
        program("run", bundle, "-", "--list", "--jsonl", "-", "--batch", "1"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert running.stdin is not None
    assert running.stdout is not None
    with running:
        running.stdin.write(f"{photos[0]}\n{photos[1]}\n{photos[2]}\n")
        running.stdin.flush()
        first = json.loads(running.stdout.readline())
        assert first["file"] == str(photos[0])
        running.stdin.write(f"missing.jpg\n{photos[3]}\n")
        running.stdin.close()
        rest = [json.loads(line) for line in running.stdout]
    assert running.returncode == 1
    assert [each["file"] for each in rest] == [
        *map(str, photos[1:3]),
        "missing.jpg",
        str(photos[3]),
    ]
    assert ["error" in each for each in rest] == [False, False, True, False]


def test_a_stop_keeps_the_lines_so_far_and_nothing_else(
    bundle: Path, photos: list[Path], tmp_path: Path
) -> None:
    names = tmp_path / "list.txt"
    names.write_text("\n".join(map(str, photos * 500)))
    part = tmp_path / "a.jsonl.part"
    running = subprocess.Popen(
        program(
            "run", bundle, names, "--list", "--quiet",
            "--jsonl", tmp_path / "a.jsonl", "--csv", tmp_path / "a.csv",
        ),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (part.is_file() and part.stat().st_size > 10_000) and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told == f"Note: The lines so far are in {part}.\nStopped.\n"
    assert sorted(entries(tmp_path)) == ["a.jsonl.part", "list.txt"]
    lines = part.read_text().splitlines()
    assert len(lines) > 5
    assert all("label" in json.loads(line) for line in lines)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_terminal_shows_how_far_it_is_and_where_the_time_goes(
    bundle: Path, photos: list[Path]
) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        program("run", bundle, photos[0].parent, "--workers", "1"),
        stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert running.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"\d+/20 .*\d+\.\d/s +decode \d+\.\d +resize \d+\.\d", text)
    assert "20 answered in" in text
    assert text.count(photos[3].name) == 1

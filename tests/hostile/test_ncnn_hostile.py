"""Pairs of ncnn files that were damaged or made to harm: one clear error each, before ncnn sees them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_bad_input import failed
from test_foreign_hostile import refused

from foreign_files import write_mmdeploy
from modelport.errors import BundleError
from modelport.runtime.foreign.folder import TEXT_LIMIT_BYTES
from modelport.runtime.opening import opened
from ncnn_files import write_detectors, write_ncnn, write_ncnn_classifier
from support import Ran

Cli = Callable[..., Ran]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return write_ncnn_classifier(tmp_path / "pair" / "net.param")


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def said_of(path: Path) -> str:
    """The error where it does not open, which must be one of ours; else nothing."""
    try:
        opened(path)
    except BundleError as error:
        return str(error)
    return ""


# --- the text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("7767517", "7767518", "it begins with '7767518' and not with 7767517"),
        ("7767517\n", "", "it begins with '6 6' and not with 7767517"),
        ("7767517", "\ufeff7767517", "and not with 7767517"),
        ("\n6 6\n", "\n7 7\n", "it promises 7 layers and has 6"),
        ("\n6 6\n", "\n5 6\n", "it promises 5 layers and has 6"),
        ("\n6 6\n", "\n6 5\n", "it promises 5 blobs and has 6"),
        ("\n6 6\n", "\n6\n", "its second line is '6', and not two counts"),
        ("\n6 6\n", "\n-6 6\n", "its second line is '-6 6', and not two counts"),
        ("relu 1 1 a b", "relu 1 1 a", "does not have the blobs it promises"),
        ("relu 1 1 a b", "relu 2 1 a z b", "no layer gives 'z' before relu takes it"),
        ("relu 1 1 a b", "relu 1 1 b a", "no layer gives 'b' before relu takes it"),
        ("relu 1 1 a b", "relu 1 1 a a", "the blob 'a' is given twice"),
        ("relu 1 1 a b", "relu one 1 a b", "is no layer"),
        ("relu 1 1 a b", "relu 99999999 1 a b", "is no layer"),
        ("relu 1 1 a b", "relu", "is no layer"),
        ("0=5 1=0 2=40", "0=5 1=0 2=forty", "'forty'"),
        ("0=5 1=0 2=40", "0=5 1=0 40", "does not have the blobs it promises"),
        ("Input input 0 1 input", "Split input 0 1 input", "it has 0 inputs and 1 outputs"),
    ],
)  # fmt: skip
def test_texts_that_are_wrong(before: str, after: str, said: str, pair: Path) -> None:
    change(pair, before, after)
    text = refused(pair, "net.param is no ncnn network", "copy or export it again")
    assert said in text


def test_room_for_more_blobs_is_no_mistake(pair: Path) -> None:
    """Files that were edited by hand have it, and ncnn reads them."""
    change(pair, "\n6 6\n", "\n6 60\n")
    opened(pair)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_texts_that_were_cut_short(share: float, pair: Path) -> None:
    data = pair.read_bytes()
    pair.write_bytes(data[: int(share * len(data))])
    refused(pair, "net.param is no ncnn network")


@pytest.mark.parametrize("data", [bytes(64), b"\x1d\x86\x76\x00" * 9, b"\xff\xfe7767517", b"{}"])
def test_what_is_no_text(data: bytes, pair: Path) -> None:
    """The binary form of the description too, which begins with the same number in bytes."""
    pair.write_bytes(data)
    refused(pair, "net.param is no ncnn network")


def test_texts_without_end(pair: Path) -> None:
    with open(pair, "r+b") as file:
        file.truncate(TEXT_LIMIT_BYTES + 1)
    refused(pair, "it is too large for a description")


def test_many_ends_are_refused(tmp_path: Path) -> None:
    inputs = [f"Input i{n} 0 1 i{n}" for n in range(300)]
    path = write_ncnn(tmp_path / "net.param", [*inputs, "ReLU r 1 1 i0 y"], [])
    refused(path, "it has 300 inputs and 1 outputs")


def test_blobs_that_go_two_ways_each_time_are_followed_once(tmp_path: Path) -> None:
    """Sixty doublings would be 2^60 ways to the end."""
    layers = ["Input x 0 1 x", "Split s 1 2 x a0 b0"]
    layers += [f"Noop n{n} 2 2 a{n} b{n} a{n + 1} b{n + 1}" for n in range(60)]
    path = write_ncnn(tmp_path / "net.param", layers, [])
    started = time.monotonic()
    opened(path)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "line",
    ["MultiHeadAttention m 1 1 a b 0=0 2=8", "Gemm m 1 1 a b 6=1 10=77",
     "Convolution m 1 1 a b 0=-8 1=0 6=-384", "Convolution m 1 1 a b 0=1 1=9999999999999999999999",
     f"InnerProduct m 1 1 a b 0=1 2={'9' * 5000}"],
    ids=["no heads", "unknown form", "below zero", "large", "too large"],
)  # fmt: skip
def test_strange_numbers_of_layers(line: str, tmp_path: Path) -> None:
    path = write_ncnn(tmp_path / "net.param", ["Input a 0 1 a", line], [])
    assert "\n" not in said_of(path)


# --- the weights --------------------------------------------------------------------------------


def test_weights_must_be_there(pair: Path, tmp_path: Path) -> None:
    pair.with_suffix(".bin").unlink()
    refused(pair, "lacks its file net.bin")
    pair.with_suffix(".bin").mkdir()
    refused(pair, "lacks its file net.bin")
    other = write_ncnn_classifier(tmp_path / "elsewhere" / "net.param")
    pair.with_suffix(".bin").rmdir()
    pair.with_suffix(".bin").symlink_to(other.with_suffix(".bin"))
    refused(pair, "net.bin is a link that leaves the folder")


@pytest.mark.parametrize("lacks", [1, 4, 160, 1000, None])
def test_weights_that_are_too_short(lacks: int | None, pair: Path) -> None:
    """Each a tag and numbers of 32 bits: 384 of the convolution, 40 of the product."""
    weights = pair.with_suffix(".bin")
    whole = weights.stat().st_size
    assert whole == 8 + 4 * (384 + 40)
    os.truncate(weights, 0 if lacks is None else whole - lacks)
    refused(pair, "too few for the layers in net.param", "bytes or more")


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = write_ncnn(
        tmp_path / "net.param", ["Input a 0 1 a", "InnerProduct m 1 1 a b 0=9 2=999"], []
    )
    refused(path, "net.bin has 0 bytes", "Expected 4000 bytes or more")


# --- in folders of others -----------------------------------------------------------------------


def test_folders_of_mmdeploy(tmp_path: Path) -> None:
    folder = write_mmdeploy(tmp_path / "a", backend="ncnn", net="end2end.param", weights="../b.bin")
    path = write_ncnn_classifier(folder / "end2end.param")
    (tmp_path / "b.bin").write_bytes(path.with_suffix(".bin").read_bytes())
    refused(folder, "names the file '../b.bin', which is not inside of it")
    folder = write_mmdeploy(folder, backend="ncnn", net="end2end.param", weights="end2end.bin")
    path.write_text("7767517", encoding="utf-8")
    refused(folder, "end2end.param is no ncnn network")


def test_folders_of_ultralytics(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    _, folder = write_detectors(tmp_path)
    (folder / "model.ncnn.bin").unlink()
    refused(folder, "lacks its file model.ncnn.bin")


# --- anything -----------------------------------------------------------------------------------


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, 250),
    length=st.integers(0, 12),
    junk=st.one_of(st.text(max_size=6), st.sampled_from(["\n", " 1=2", "-23300=2,1,2", "=", "\0"])),
)
def test_junk_anywhere_is_an_error_or_opens(start: int, length: int, junk: str, pair: Path) -> None:
    original = pair.read_text(encoding="utf-8")
    try:
        changed = original[:start] + junk + original[start + length :]
        pair.write_bytes(changed.encode(errors="replace"))
        text = said_of(pair)
        assert "\n" not in text
        assert len(text) < 1000
    finally:
        pair.write_text(original, encoding="utf-8")


def test_the_command_line_says_one_paragraph(pair: Path, cli: Cli) -> None:
    change(pair, "7767517", "0")
    failed(cli("run", pair, pair), "net.param is no ncnn network")

"""Bundles that were damaged or made to harm: each is refused with an error that names the file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.bundle import read, write
from modelport.bundle.manifest import (
    MANIFEST_NAME,
    CaseEntry,
    Manifest,
    Provenance,
    SignatureEntry,
    TaskEntry,
    VariantEntry,
    to_json,
)
from modelport.bundle.read import Bundle
from modelport.bundle.write import finish, staged
from modelport.errors import BundleError, BundleFormatError, ChecksumError, ModelportError
from modelport.types import Dim, Signature, TensorSpec

MODEL = "artifacts/null-fp32/model.bin"
FEEDS = "cases/a/feeds.npz"
OUTPUTS = "cases/a/outputs.npz"
PICTURE = "cases/a/Bild größer.ppm"
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (Dim(1, 8, "batch"), 3)),), (TensorSpec("y", "float32", (1, 2)),)
)
MANIFEST = Manifest(
    name="tiny",
    created="2026-11-21T00:00:00Z",
    signature=SignatureEntry.of(SIGNATURE),
    task=TaskEntry(name="tensors", parameters={"threshold": 1e-05}),
    labels=("Katze", "犬"),
    default="null-fp32",
    variants=(
        VariantEntry(
            name="null-fp32", engine="null", precision="fp32", files={"model": MODEL},
            verdict="chosen", size_bytes=700,
        ),
        VariantEntry(
            name="null-int8", engine="null", precision="int8", verdict="rejected", reason="worse"
        ),
    ),
    cases=(CaseEntry(name="a", feeds=FEEDS, outputs=OUTPUTS, picture=PICTURE),),
    provenance=Provenance(source="tiny.onnx", opset=20),
)  # fmt: skip


def arrays(**named: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **named)
    return stream.getvalue()


CONTENT = {
    MODEL: bytes(range(256)) * 3,
    "artifacts/null-fp32/empty.bin": b"",
    FEEDS: arrays(x=np.ones((1, 3), np.float32)),
    OUTPUTS: arrays(y=np.zeros((1, 2), np.float32)),
    PICTURE: b"P6 1 1 255\n\x01\x02\x03",
    "report.html": b"<p>all is well</p>",
}


def build(output: Path, *, overwrite: bool = False, content: Mapping[str, bytes] = CONTENT) -> Path:
    with staged(output, overwrite=overwrite) as stage:
        for name, data in content.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_bytes(data)
        finish(stage, MANIFEST, output)
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One good bundle in both forms; nobody changes these."""
    place = tmp_path_factory.mktemp("whole")
    return {"folder": build(place / "tiny"), "archive": build(place / "tiny.zip")}


@pytest.fixture
def folder(whole: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole["folder"], tmp_path / "tiny"))


@pytest.fixture
def archive(whole: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copy(whole["archive"], tmp_path / "tiny.zip"))


@pytest.fixture(params=["folder", "archive"])
def rebuilt(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a bundle around some manifest, bytes or an object, in both forms in turn."""

    def write(manifest: bytes | dict[str, Any], **files: bytes) -> Path:
        data = manifest if isinstance(manifest, bytes) else sealed(manifest)
        (folder / MANIFEST_NAME).write_bytes(data)
        for name, extra in files.items():
            (folder / name).write_bytes(extra)
        if request.param == "folder":
            return folder
        return pack(tmp_path / "made.zip", contents(folder))

    return write


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pack(
    path: Path, entries: Mapping[str, bytes] | list[tuple[str, bytes]], **options: Any
) -> Path:
    pairs = entries if isinstance(entries, list) else list(entries.items())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **options) as packed:
        warnings.simplefilter("ignore")  # of names given twice
        for name, data in pairs:
            packed.writestr(name, data)
    return path


def plain(manifest: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(manifest)
    return content


def sealed(content: dict[str, Any]) -> bytes:
    """The manifest with the checksum that FORMAT.md describes, as an attacker would write it."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
    return json.dumps({**rest, "checksum": digest}).encode()


def use(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Opens a bundle, checks it, and reads all that a predictor and a verifier would."""
    bundle = Bundle(path)
    bundle.check_files()
    for variant in bundle.variants:
        bundle.artifact(variant)
    for case in bundle.cases:
        bundle.arrays(case.feeds)
        bundle.arrays(case.outputs)
    assert bundle.signature
    files = {entry.path: bytes(bundle.blob(entry.path).view()) for entry in bundle.manifest.files}
    return bundle.manifest, files


def attempt(path: Path) -> tuple[str | None, Any]:
    """What went wrong, or what the bundle holds."""
    try:
        return None, use(path)
    except ModelportError as error:
        return str(error), None


def refused(path: Path, *words: str, kind: type[ModelportError] = BundleError) -> str:
    with pytest.raises(kind) as caught:
        use(path)
    text = str(caught.value)
    for word in (str(path.name), *words):
        assert word in text
    return text


class TestWhole:
    def test_both_forms_say_the_same(self, whole: dict[str, Path]) -> None:
        in_folder, in_archive = use(whole["folder"]), use(whole["archive"])
        assert in_folder == in_archive
        manifest, files = in_folder
        assert files == CONTENT
        assert manifest.model_copy(update={"files": (), "checksum": ""}) == MANIFEST
        assert Bundle(whole["folder"]).signature == SIGNATURE

    def test_equal_contents_give_equal_archives(
        self, whole: dict[str, Path], tmp_path: Path
    ) -> None:
        again = build(tmp_path / "other name.zip", content=dict(reversed(CONTENT.items())))
        assert again.read_bytes() == whole["archive"].read_bytes()

    def test_entries_are_stored_and_aligned(self, whole: dict[str, Path]) -> None:
        bundle = Bundle(whole["archive"])
        for entry in bundle.manifest.files:
            assert bundle.blob(entry.path).offset % 64 == 0
        with zipfile.ZipFile(whole["archive"]) as packed:
            assert packed.testzip() is None
            assert {info.compress_type for info in packed.infolist()} == {zipfile.ZIP_STORED}
            assert {info.date_time for info in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            assert {info.filename for info in packed.infolist()} == {*CONTENT, MANIFEST_NAME}

    def test_large_entries_are_aligned_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Past 2 GiB, zip headers grow by a field of their own."""
        monkeypatch.setattr(write, "_LARGE_BYTES", 500)
        path = build(tmp_path / "large.zip")
        bundle = Bundle(path)
        assert use(path)[1] == CONTENT
        for entry in bundle.manifest.files:
            assert bundle.blob(entry.path).offset % 64 == 0, entry.path

    def test_arrays(self, whole: dict[str, Path]) -> None:
        (case,) = Bundle(whole["archive"]).cases
        found = Bundle(whole["archive"]).arrays(case.feeds)
        assert list(found) == ["x"]
        np.testing.assert_array_equal(found["x"], np.ones((1, 3), np.float32))

    def test_unpacked_archive_is_a_bundle(self, whole: dict[str, Path], tmp_path: Path) -> None:
        with zipfile.ZipFile(whole["archive"]) as packed:
            packed.extractall(tmp_path / "out")
        assert use(tmp_path / "out") == use(whole["folder"])

    def test_repacked_without_our_padding(self, folder: Path, tmp_path: Path) -> None:
        repacked = pack(tmp_path / "repacked.zip", contents(folder))
        assert use(repacked) == use(folder)

    def test_archive_with_folder_entries(self, folder: Path, tmp_path: Path) -> None:
        entries = [("artifacts/", b""), ("cases/", b""), *contents(folder).items()]
        assert use(pack(tmp_path / "f.zip", entries)) == use(folder)

    def test_rejected_variant_has_nothing_to_load(self, whole: dict[str, Path]) -> None:
        bundle = Bundle(whole["folder"])
        assert [variant.name for variant in bundle.variants] == ["null-fp32"]
        with pytest.raises(BundleError, match=r"null-int8.*worse.*null-fp32"):
            bundle.artifact(bundle.manifest.variant("null-int8"))
        with pytest.raises(BundleFormatError, match=r"no variant 'fast'.*null-fp32, null-int8"):
            bundle.manifest.variant("fast")


FILES = [*CONTENT, MANIFEST_NAME]
FULL_FILES = [name for name in FILES if CONTENT.get(name) != b""]


class TestDamage:
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(
        name=st.sampled_from(FULL_FILES),
        place=st.floats(0, 1, exclude_max=True),
        change=st.integers(1, 255),
    )
    def test_one_byte_of_a_file(
        self, whole: dict[str, Path], name: str, place: float, change: int
    ) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(shutil.copytree(whole["folder"], Path(scratch) / "tiny"))
            data = bytearray((copy / name).read_bytes())
            data[int(place * len(data))] ^= change
            (copy / name).write_bytes(data)
            if name == MANIFEST_NAME and same_json(bytes(data), whole["folder"] / name):
                assert use(copy) == use(whole["folder"])
            else:
                refused(copy, name)

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
    def test_one_byte_of_an_archive(
        self, whole: dict[str, Path], place: float, change: int
    ) -> None:
        """Dates and padding mean nothing to us; whatever else changes is noticed."""
        data = bytearray(whole["archive"].read_bytes())
        data[int(place * len(data))] ^= change
        assert_refused_or_same(whole, bytes(data))

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(back=st.integers(1, 700), change=st.integers(1, 255))
    def test_one_byte_of_the_index(self, whole: dict[str, Path], back: int, change: int) -> None:
        data = bytearray(whole["archive"].read_bytes())
        data[-back] ^= change
        assert_refused_or_same(whole, bytes(data))

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(
        changes=st.lists(
            st.tuples(st.integers(1, 900), st.integers(0, 255)), min_size=1, max_size=6
        )
    )
    def test_several_bytes_of_the_index(
        self, whole: dict[str, Path], changes: list[tuple[int, int]]
    ) -> None:
        data = bytearray(whole["archive"].read_bytes())
        for back, value in changes:
            data[-back] = value
        assert_refused_or_same(whole, bytes(data))

    @pytest.mark.parametrize("name", FULL_FILES)
    @pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.9, 0.999])
    def test_file_cut_short(self, folder: Path, name: str, part: float) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * part)])
        refused(folder, name)

    @pytest.mark.parametrize("name", FILES)
    def test_file_that_grew(self, folder: Path, name: str) -> None:
        with open(folder / name, "ab") as file:
            file.write(b"!")
        refused(folder, name)
        with pytest.raises(BundleError):
            Bundle(folder)

    def test_sizes_are_compared_on_opening(self, folder: Path) -> None:
        """Before any use, and without reading gigabytes."""
        size = len(CONTENT[MODEL])
        (folder / MODEL).write_bytes(CONTENT[MODEL][:-1])
        with pytest.raises(ChecksumError, match=f"{MODEL} has {size - 1} bytes.*{size} bytes"):
            Bundle(folder)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(part=st.floats(0, 1, exclude_max=True))
    def test_archive_cut_short(self, whole: dict[str, Path], part: float) -> None:
        data = whole["archive"].read_bytes()
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "cut.zip"
            path.write_bytes(data[: int(len(data) * part)])
            refused(path, kind=BundleFormatError)

    @pytest.mark.parametrize("name", FILES)
    def test_missing_file(self, folder: Path, tmp_path: Path, name: str) -> None:
        (folder / name).unlink()
        refused(folder, name)
        refused(pack(tmp_path / "lacks.zip", contents(folder)), name)

    @pytest.mark.parametrize("name", ["virus.exe", "artifacts/null-fp32/more.bin", "cases/b/x.npz"])
    def test_surplus_file(self, folder: Path, tmp_path: Path, name: str) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"?")
        refused(folder, name, "does not list", kind=BundleFormatError)
        path = pack(tmp_path / "more.zip", contents(folder))
        refused(path, name, "does not list", kind=BundleFormatError)

    def test_two_files_exchanged(self, folder: Path) -> None:
        """Equal sizes hide it until the sha256 is compared."""
        left, right = folder / MODEL, folder / "artifacts/null-fp32/empty.bin"
        left.write_bytes(left.read_bytes()[::-1])
        assert right.read_bytes() == b""
        refused(folder, MODEL, "sha256", kind=ChecksumError)

    def test_file_changed_after_opening(self, folder: Path) -> None:
        bundle = Bundle(folder)
        (folder / MODEL).write_bytes(b"x" * len(CONTENT[MODEL]))
        with pytest.raises(ChecksumError, match=r"model.bin"):
            bundle.artifact(bundle.variants[0])

    def test_file_gone_after_opening(self, folder: Path) -> None:
        bundle = Bundle(folder)
        (folder / MODEL).unlink()
        with pytest.raises(BundleError, match=r"model.bin"):
            bundle.artifact(bundle.variants[0])

    def test_folder_in_place_of_a_file(self, folder: Path) -> None:
        (folder / MODEL).unlink()
        (folder / MODEL).mkdir()
        refused(folder, MODEL)

    @pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.touch()])
    def test_nothing_in_it(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "empty")
        refused(tmp_path / "empty")

    def test_nothing_there(self, tmp_path: Path) -> None:
        refused(tmp_path / "none", "There is no bundle at")

    @pytest.mark.parametrize(
        "data", [b"hello", b"PK\x05\x06" + bytes(18), os.urandom(0), b"\0" * 5000]
    )
    def test_other_files(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "file.zip").write_bytes(data)
        refused(tmp_path / "file.zip")


def same_json(data: bytes, original: Path) -> bool:
    """Whether a change means nothing to JSON, such as 1E-05 for 1e-05."""
    try:
        return bool(json.loads(data) == json.loads(original.read_bytes()))
    except ValueError:
        return False


def assert_refused_or_same(whole: dict[str, Path], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "damaged.zip"
        path.write_bytes(data)
        failure, found = attempt(path)
        if failure is None:
            assert found == use(whole["folder"])
        else:
            assert path.name in failure


class TestArchives:
    @pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compressed_entries(self, folder: Path, tmp_path: Path, method: int) -> None:
        path = pack(tmp_path / "small.zip", contents(folder), compression=method)
        refused(path, "is compressed", "Unpack it", kind=BundleFormatError)

    def test_one_compressed_entry(self, folder: Path, tmp_path: Path) -> None:
        path = pack(tmp_path / "small.zip", contents(folder))
        data = contents(folder)[MODEL]
        entries = {name: d for name, d in contents(folder).items() if name != MODEL}
        with zipfile.ZipFile(pack(path, entries), "a", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(MODEL, data)
        refused(path, MODEL, "is compressed", kind=BundleFormatError)

    @pytest.mark.parametrize("name", [MODEL, MANIFEST_NAME])
    def test_two_entries_of_one_name(self, folder: Path, tmp_path: Path, name: str) -> None:
        """Readers differ in which of the two they take."""
        entries = [(name, b"something else"), *contents(folder).items()]
        refused(pack(tmp_path / "twice.zip", entries), "two entries of one name")

    @pytest.mark.parametrize("offset", [10**6, 2**31, 2**32 - 2])
    def test_offset_beyond_the_file(self, archive: Path, offset: int) -> None:
        data = bytearray(archive.read_bytes())
        for header in index_headers(data):
            struct.pack_into("<I", data, header + 42, offset)
        archive.write_bytes(data)
        refused(archive)

    @pytest.mark.parametrize("field", [26, 28], ids=["name", "extra"])
    @pytest.mark.parametrize("length", [0, 1, 40, 65535])
    def test_local_header_of_another_length(self, archive: Path, field: int, length: int) -> None:
        data = bytearray(archive.read_bytes())
        data_at = data.index(CONTENT[MODEL])
        header = data.rindex(b"PK\x03\x04", 0, data_at)
        struct.pack_into("<H", data, header + field, length)
        archive.write_bytes(data)
        refused(archive, MODEL)

    def test_sizes_beyond_the_file(self, archive: Path) -> None:
        """The index promises more than there is; the manifest agrees, being the attacker's too."""
        data = bytearray(archive.read_bytes())
        size = 2**31
        for header in index_headers(data):
            if data[header + 46 :].startswith(MODEL.encode()):
                struct.pack_into("<II", data, header + 20, size, size)
        archive.write_bytes(data)
        refused(archive, MODEL)

    def test_local_header_that_is_none(self, archive: Path) -> None:
        data = bytearray(archive.read_bytes())
        header = data.rindex(b"PK\x03\x04", 0, data.index(CONTENT[MODEL]))
        data[header : header + 4] = b"QK\x03\x04"
        archive.write_bytes(data)
        refused(archive, "no entry where its index says")

    def test_encrypted_flag(self, archive: Path) -> None:
        data = bytearray(archive.read_bytes())
        for header in index_headers(data):
            data[header + 8] |= 1
        archive.write_bytes(data)
        assert_refused_or_same_archive(archive)

    def test_version_of_the_far_future(self, archive: Path) -> None:
        data = bytearray(archive.read_bytes())
        for header in index_headers(data):
            data[header + 6] = 99
        archive.write_bytes(data)
        refused(archive)

    def test_names_that_are_no_utf8(self, archive: Path) -> None:
        data = bytearray(archive.read_bytes())
        for header in index_headers(data):
            data[header + 9] |= 0x08  # "this name is UTF-8"
            data[header + 46] = 0xFF
        archive.write_bytes(data)
        refused(archive)


def assert_refused_or_same_archive(path: Path) -> None:
    failure, found = attempt(path)
    if found is not None:
        assert found[1] == CONTENT
    else:
        assert path.name in str(failure)


def index_headers(data: bytes | bytearray) -> Iterator[int]:
    at = bytes(data).find(b"PK\x01\x02")
    while at >= 0:
        yield at
        at = bytes(data).find(b"PK\x01\x02", at + 4)


OUTSIDE = ["../x", "/etc/passwd", "a/../../b", "a/./b", "..", ".", "", "a\\b", "..\\x", "C:x", "C:/x",
           "a\0b", "./a"]  # fmt: skip


class TestPaths:
    @pytest.mark.parametrize("path", OUTSIDE)
    @pytest.mark.parametrize("where", ["files", "feeds", "picture", "variant"])
    def test_paths_that_leave(
        self, folder: Path, rebuilt: Callable[..., Path], path: str, where: str
    ) -> None:
        content = plain((folder / MANIFEST_NAME).read_bytes())
        if where == "files":
            content["files"][0]["path"] = path
        elif where == "variant":
            content["variants"][0]["files"]["model"] = path
        else:
            content["cases"][0][where] = path
        refused(rebuilt(content), MANIFEST_NAME, "leaves the bundle", kind=BundleFormatError)

    @pytest.mark.parametrize("path", ["nowhere.bin", "a//b", "artifacts", "artifacts/", "x" * 300])
    def test_paths_to_nothing(self, folder: Path, rebuilt: Callable[..., Path], path: str) -> None:
        content = plain((folder / MANIFEST_NAME).read_bytes())
        content["files"][0]["path"] = path
        refused(rebuilt(content), path)

    def test_path_that_no_file_system_can_hold(
        self, folder: Path, rebuilt: Callable[..., Path]
    ) -> None:
        content = plain((folder / MANIFEST_NAME).read_bytes())
        content["files"][0]["path"] = "lone\ud800surrogate"
        refused(rebuilt(content), MANIFEST_NAME)

    def test_reference_to_a_file_that_is_not_listed(
        self, folder: Path, rebuilt: Callable[..., Path]
    ) -> None:
        content = plain((folder / MANIFEST_NAME).read_bytes())
        content["variants"][0]["files"]["model"] = "secret.bin"
        bundle = Bundle(rebuilt(content))
        with pytest.raises(BundleFormatError, match=r"secret\.bin"):
            bundle.artifact(bundle.variants[0])

    def outside(self, tmp_path: Path, name: str, data: bytes) -> Path:
        path = tmp_path / "elsewhere" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    @pytest.mark.parametrize("name", [MODEL, MANIFEST_NAME])
    def test_link_that_leaves(self, folder: Path, tmp_path: Path, name: str) -> None:
        target = self.outside(tmp_path, "same", (folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        refused(folder, name, "a link that leaves the bundle", kind=BundleFormatError)

    def test_folder_that_is_a_link_and_leaves(self, folder: Path, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere"
        shutil.move(folder / "artifacts", moved)
        (folder / "artifacts").symlink_to(moved, target_is_directory=True)
        refused(folder, "artifacts/", "a link that leaves the bundle", kind=BundleFormatError)

    def test_surplus_link(self, folder: Path, tmp_path: Path) -> None:
        (folder / "more").symlink_to(self.outside(tmp_path, "secret", b"?"))
        refused(folder, "more")

    def test_link_to_itself(self, folder: Path) -> None:
        (folder / MODEL).unlink()
        (folder / MODEL).symlink_to("model.bin")
        refused(folder, MODEL)

    def test_link_to_nothing(self, folder: Path) -> None:
        (folder / MODEL).unlink()
        (folder / MODEL).symlink_to("gone.bin")
        refused(folder, MODEL)

    def test_link_inside(self, folder: Path) -> None:
        """A folder that shares a file within itself is a whole bundle."""
        (folder / MODEL).rename(folder / "artifacts/shared.bin")
        (folder / MODEL).symlink_to("../shared.bin")
        assert bytes(Bundle(folder).blob(MODEL).view()) == CONTENT[MODEL]

    def test_bundle_reached_through_a_link(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(folder, target_is_directory=True)
        assert use(tmp_path / "link") == use(folder)


class TestManifests:
    def changed(self, folder: Path, **fields: Any) -> dict[str, Any]:
        return {**plain((folder / MANIFEST_NAME).read_bytes()), **fields}

    @pytest.mark.parametrize(
        "data",
        [
            b"", b"{", b"not json", b"\xff\xfe\xfd", b"\x80", b'{"a": 1,}', b"{'a': 1}",
            b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"1" * 10_000,
            b"nul", b'"\\ud800', b"\xef\xbb\xbf{}x",
        ],
    )  # fmt: skip
    def test_not_json(self, rebuilt: Callable[..., Path], data: bytes) -> None:
        refused(rebuilt(data), MANIFEST_NAME, kind=BundleFormatError)

    @pytest.mark.parametrize(
        "value", [[], [1], "modelport", 1, 1.5, None, True, {}, {"format": "zip"}]
    )
    def test_json_that_is_no_manifest(self, rebuilt: Callable[..., Path], value: Any) -> None:
        refused(rebuilt(json.dumps(value).encode()), MANIFEST_NAME, kind=BundleFormatError)

    @pytest.mark.parametrize("version", [0, 2, "1", None, [1], 10**400])
    def test_other_versions(self, folder: Path, rebuilt: Callable[..., Path], version: Any) -> None:
        path = rebuilt(self.changed(folder, format_version=version))
        refused(path, MANIFEST_NAME, "format version", "version 1", kind=BundleFormatError)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"surprise": 1}, ["surprise"]),
            ({"task": {"name": "tensors", "surprise": 1}}, ["task.surprise"]),
            ({"name": 3}, ["name"]),
            ({"name": None}, ["name"]),
            ({"variants": {}}, ["variants"]),
            ({"variants": [{}]}, ["variants.0"]),
            ({"signature": []}, ["signature"]),
            ({"signature": {"inputs": [{"name": "x", "dtype": "float32", "shape": ["a"]}],
                            "outputs": []}}, ["signature.inputs.0.shape"]),
            ({"files": [{"path": "a", "size_bytes": -1, "sha256": "0" * 64}]}, ["size_bytes"]),
            ({"files": [{"path": "a", "size_bytes": 1, "sha256": "0" * 63}]}, ["sha256"]),
            ({"files": [{"path": "a", "size_bytes": 1, "sha256": "0" * 64 + "\n"}]}, ["sha256"]),
            ({"files": None}, ["files"]),
            ({"labels": [1]}, ["labels"]),
        ],
    )  # fmt: skip
    def test_wrong_fields(
        self, folder: Path, rebuilt: Callable[..., Path], fields: dict[str, Any], words: list[str]
    ) -> None:
        path = rebuilt(self.changed(folder, **fields))
        refused(path, MANIFEST_NAME, *words, kind=BundleFormatError)

    @pytest.mark.parametrize("field", ["name", "signature", "variants", "provenance", "task"])
    def test_missing_fields(self, folder: Path, rebuilt: Callable[..., Path], field: str) -> None:
        content = self.changed(folder)
        del content[field]
        refused(rebuilt(content), MANIFEST_NAME, field, kind=BundleFormatError)

    @pytest.mark.parametrize("stated", ["", "0" * 64, None, 3, [], "é"])
    def test_edited_without_the_checksum(
        self, folder: Path, rebuilt: Callable[..., Path], stated: Any
    ) -> None:
        content = self.changed(folder, name="edited", checksum=stated)
        refused(rebuilt(json.dumps(content).encode()), MANIFEST_NAME, kind=ChecksumError)

    def test_without_a_checksum(self, folder: Path, rebuilt: Callable[..., Path]) -> None:
        content = self.changed(folder)
        del content["checksum"]
        refused(rebuilt(json.dumps(content).encode()), MANIFEST_NAME, kind=ChecksumError)

    @pytest.mark.parametrize("depth", [200, 900, 5000, 100_000])
    def test_deep_nesting_inside_a_free_field(
        self, folder: Path, rebuilt: Callable[..., Path], depth: int
    ) -> None:
        """Deep enough for one of reading, checking and validating to run out of stack."""
        data = (folder / MANIFEST_NAME).read_bytes()
        nested = b'{"deep": ' + b"[" * depth + b"]" * depth + b"}"
        data = data.replace(b'"parameters": {', b'"parameters": {"more": ' + nested + b",", 1)
        refused(rebuilt(data), MANIFEST_NAME)

    def test_surrogates(self, folder: Path, rebuilt: Callable[..., Path]) -> None:
        refused(rebuilt(self.changed(folder, name="\ud800")), MANIFEST_NAME)

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 4000])
    def test_odd_numbers(self, folder: Path, rebuilt: Callable[..., Path], number: str) -> None:
        data = (folder / MANIFEST_NAME).read_bytes()
        refused(rebuilt(data.replace(b"1e-05", number.encode(), 1)), MANIFEST_NAME)

    def test_huge(
        self, folder: Path, rebuilt: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(read, "MANIFEST_LIMIT_BYTES", 10_000)
        path = rebuilt((folder / MANIFEST_NAME).read_bytes() + b" " * 10_000)
        refused(path, MANIFEST_NAME, "too many for a manifest", kind=BundleFormatError)

    def test_file_listed_twice_with_different_sums(
        self, folder: Path, rebuilt: Callable[..., Path]
    ) -> None:
        content = self.changed(folder)
        false = {**content["files"][0], "sha256": "0" * 64}
        content["files"].append(false)
        refused(rebuilt(content), false["path"])

    def test_written_manifest_is_read_back(self) -> None:
        data = to_json(MANIFEST)
        assert data == to_json(MANIFEST)
        content = plain(data)
        assert json.loads(sealed(content)) == content, "the checksum is not as FORMAT.md says"


MARKER = Path(tempfile.gettempdir()) / f"modelport-was-here-{os.getpid()}"
"""A folder that only code inside a bundle would make."""


class Evil:
    def __reduce__(self) -> Any:
        return (os.mkdir, (str(MARKER),))


def zip_of(**entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in entries.items():
            packed.writestr(f"{name}.npy", data)
    return stream.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    """An `.npy` file with that header."""
    padded = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + data


def plain_array(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


NOT_ARRAYS = {
    "pickled objects": arrays(x=np.asarray([Evil()], dtype=object)),
    "a pickle": pickle.dumps({"x": 1}),
    "an array alone": plain_array(np.ones(3)),
    "text": b"hello",
    "nothing": b"",
    "a zip of text": zip_of(x=b"hello"),
    "a zip of nothing": zip_of(x=b""),
    "a header that is code": zip_of(x=header(f"__import__('os').mkdir({str(MARKER)!r})")),
    "a header cut short": zip_of(x=b"\x93NUMPY\x01\x00\xff\xff{"),
    "a header of a future version": zip_of(x=b"\x93NUMPY\x09\x00\x01\x00{}"),
    "a shape that is huge": zip_of(
        x=header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }")
    ),
    "a shape that overflows": zip_of(
        x=header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999999), }")
    ),
    "a shape below zero": zip_of(
        x=header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }", b"\0" * 64)
    ),
    "a type that is none": zip_of(
        x=header("{'descr': 'cheese', 'fortran_order': False, 'shape': (1,), }", b"\0" * 64)
    ),
    "an object without pickling": zip_of(
        x=header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(Evil()))
    ),
    "data cut short": zip_of(x=plain_array(np.ones(100))[:-20]),
    "a damaged zip": arrays(x=np.ones(50))[:-30],
    "a damaged entry": arrays(x=np.ones(50)).replace(b"\xf0?", b"\xf1?", 1),
}


class TestArrays:
    @pytest.mark.parametrize("name", NOT_ARRAYS)
    def test_what_is_no_plain_array(self, tmp_path: Path, name: str) -> None:
        """The sums are right: this bundle was made so. Nothing in it may be executed."""
        path = build(tmp_path / "tiny.zip", content={**CONTENT, FEEDS: NOT_ARRAYS[name]})
        refused(path, FEEDS, kind=BundleFormatError)
        assert not MARKER.exists()

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(
        changes=st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
            min_size=1,
            max_size=8,
        )
    )
    def test_damaged_arrays(self, changes: list[tuple[float, int]]) -> None:
        data = bytearray(CONTENT[FEEDS])
        for place, value in changes:
            data[int(place * len(data))] = value
        with tempfile.TemporaryDirectory() as scratch:
            content = {**CONTENT, FEEDS: bytes(data)}
            bundle = Bundle(build(Path(scratch) / "tiny", content=content))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = bundle.arrays(FEEDS)
                except BundleFormatError:
                    return
            assert not any(array.dtype.hasobject for array in found.values())


class TestWriting:
    def leftovers(self, place: Path) -> list[str]:
        return sorted(path.name for path in place.iterdir())

    @pytest.mark.parametrize("name", ["out", "out.zip"])
    def test_nothing_is_left_where_the_block_fails(self, tmp_path: Path, name: str) -> None:
        def fail() -> None:
            with staged(tmp_path / name, overwrite=False) as stage:
                (stage / "half.bin").write_bytes(b"half")
                raise RuntimeError("the disk is full")

        with pytest.raises(RuntimeError, match="the disk is full"):
            fail()
        assert self.leftovers(tmp_path) == []

    @pytest.mark.parametrize("name", ["out", "out.zip"])
    def test_nothing_is_left_beside_a_bundle(self, tmp_path: Path, name: str) -> None:
        build(tmp_path / name)
        assert self.leftovers(tmp_path) == [name]
        build(tmp_path / name, overwrite=True)
        assert self.leftovers(tmp_path) == [name]
        use(tmp_path / name)

    @pytest.mark.parametrize("name", ["out", "out.zip"])
    def test_an_old_bundle_survives_a_failure(self, tmp_path: Path, name: str) -> None:
        before = use(build(tmp_path / name))

        def fail() -> None:
            with staged(tmp_path / name, overwrite=True):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert use(tmp_path / name) == before
        assert self.leftovers(tmp_path) == [name]

    @pytest.mark.parametrize("name", ["out", "out.zip"])
    def test_failure_while_moving(
        self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = use(build(tmp_path / name))
        real = os.replace

        def replace(source: Any, target: Any) -> None:
            if Path(target) == tmp_path / name and not str(source).endswith(".old"):
                raise PermissionError("no")
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(BundleError, match="cannot be written"):
            build(
                tmp_path / name, overwrite=True, content={MODEL: b"new", FEEDS: b"", OUTPUTS: b""}
            )
        monkeypatch.undo()
        assert use(tmp_path / name) == before
        assert self.leftovers(tmp_path) == [name]

    @pytest.mark.parametrize("name", ["out", "out.zip"])
    def test_overwrite_is_asked_for(self, tmp_path: Path, name: str) -> None:
        build(tmp_path / name)
        with pytest.raises(BundleError, match=r"exists\. Pass --overwrite"):
            build(tmp_path / name)

    @pytest.mark.parametrize("name", ["out", "out.zip"])
    def test_overwrite_replaces_all_of_it(self, tmp_path: Path, name: str) -> None:
        build(tmp_path / name)
        content = {name: data for name, data in CONTENT.items() if name != "report.html"}
        build(tmp_path / name, overwrite=True, content={**content, "new.txt": b"new"})
        assert set(use(tmp_path / name)[1]) == {*content, "new.txt"}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_that_is_no_bundle_is_never_replaced(
        self, tmp_path: Path, overwrite: bool
    ) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
        with pytest.raises(BundleError, match=r"thesis exists and is not a bundle"):
            build(tmp_path / "thesis", overwrite=overwrite)
        assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"

    @pytest.mark.parametrize("data", [b"years of work", b""])
    @pytest.mark.parametrize("name", ["thesis.zip", "thesis"])
    def test_a_file_that_is_no_bundle_is_never_replaced(
        self, tmp_path: Path, name: str, data: bytes
    ) -> None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BundleError, match="exists and is not a bundle"):
            build(tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_bytes() == data

    def test_an_archive_of_other_things_is_never_replaced(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "photos.zip", {"holiday.jpg": b"sun"})
        before = path.read_bytes()
        with pytest.raises(BundleError, match=r"photos.zip exists and is not a bundle"):
            build(path, overwrite=True)
        assert path.read_bytes() == before

    def test_an_archive_does_not_replace_a_folder(self, tmp_path: Path) -> None:
        built = build(tmp_path / "tiny")
        named = built.rename(tmp_path / "tiny.zip")
        with pytest.raises(BundleError, match=r"tiny.zip"):
            build(named, overwrite=True)
        use(named)

    def test_empty_folder_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        use(build(tmp_path / "out"))

    def test_folders_above_are_made(self, tmp_path: Path) -> None:
        use(build(tmp_path / "a" / "b" / "out.zip"))

    def test_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(BundleError, match="Nothing can be written at"):
            build(tmp_path / "file" / "out")

    def test_others_may_read_it(self, tmp_path: Path) -> None:
        assert build(tmp_path / "out").stat().st_mode & 0o777 == 0o755

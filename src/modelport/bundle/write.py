"""Writes a bundle: everything beside its final place first, then one move."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelport.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest, to_json
from modelport.bundle.pipelines import is_pipeline
from modelport.errors import BundleError
from modelport.staging import stage_beside

_ALIGNMENT = 64
_LARGE_BYTES = 1 << 30
"""Larger entries get the 64-bit header field, which zipfile would add by itself from 2 GiB on."""

_ZIP64_FIELD_BYTES = 20
_PADDING_ID = 0x6D70
"""Tag of the extra field that pads zip headers; readers skip tags they do not know."""


def is_archive(path: Path) -> bool:
    return path.suffix == ".zip"


@contextmanager
def staged(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write a bundle's files into; it goes away if the block fails.

    Raises:
        BundleError: where `output` exists, is no bundle to replace, or cannot be written beside.
    """
    _check_output(output, overwrite)
    with stage_beside(output, BundleError) as stage:
        yield stage


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    # What is not a bundle is never replaced, whatever the user said: it is their data.
    empty = output.is_dir() and not is_archive(output) and not any(output.iterdir())
    if not (_is_bundle(output) or empty):
        raise BundleError(
            f"{output} exists and is not a bundle", hint="Choose another place with -o"
        )
    if not overwrite and not empty:
        raise BundleError(f"{output} exists", hint="Pass --overwrite to replace it")


def _is_bundle(output: Path) -> bool:
    """Whether a bundle stands there, or a pipeline, in the form that its name asks for."""
    if output.is_dir():
        known = (output / MANIFEST_NAME).is_file() or is_pipeline(output)
        return known and not is_archive(output)
    try:
        with zipfile.ZipFile(output) as packed:
            known = MANIFEST_NAME in packed.namelist() or is_pipeline(output)
            return known and is_archive(output)
    except Exception:  # zipfile raises a dozen kinds for what is no archive
        return False


def finish(stage: Path, manifest: Manifest, output: Path) -> None:
    """Lists the staged files in the manifest and moves the whole to its final place.

    Raises:
        BundleError: where it cannot be written there; what stood there before still does.
    """
    try:
        _finish(stage, manifest, output)
    except OSError as error:
        raise BundleError(
            f"{output} cannot be written ({error.strerror or error})",
            hint="Choose another place with -o",
        ) from error


def _finish(stage: Path, manifest: Manifest, output: Path) -> None:
    seal(stage, manifest)
    put(stage, output)


def seal(folder: Path, manifest: Manifest) -> None:
    """Lists the files of the folder in the manifest, and writes that beside them."""
    files = tuple(_entry(folder, path) for path in sorted(folder.rglob("*")) if path.is_file())
    complete = manifest.model_copy(update={"files": files})
    (folder / MANIFEST_NAME).write_bytes(to_json(complete))


def put(stage: Path, output: Path) -> None:
    """Moves a staged folder to its final place, packed where that is an archive."""
    if is_archive(output):
        partial = stage.with_name(f"{stage.name}.zip")
        try:
            _pack(stage, partial)
            os.replace(partial, output)
        finally:
            partial.unlink(missing_ok=True)
    else:
        os.chmod(stage, 0o755)  # noqa: S103  (mkdtemp made it private to its owner)
        _replace_folder(stage, output)


def _entry(stage: Path, path: Path) -> FileEntry:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else None
        sha256 = digest.hexdigest() if digest else hashlib.sha256(file.read()).hexdigest()
    return FileEntry(
        path=path.relative_to(stage).as_posix(), size_bytes=path.stat().st_size, sha256=sha256
    )


def _replace_folder(stage: Path, output: Path) -> None:
    """Folders cannot be swapped in one step everywhere; the old one is kept until the new stands."""
    old = stage.with_name(f"{stage.name}.old")
    if output.exists():
        os.replace(output, old)
    try:
        os.replace(stage, output)
    except OSError:
        if old.exists():
            os.replace(old, output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _pack(folder: Path, archive: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in files:
            name = path.relative_to(folder).as_posix()
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.file_size = path.stat().st_size
            large = info.file_size > _LARGE_BYTES
            info.extra = _padding(packed.fp.tell() if packed.fp else 0, name, large)
            with path.open("rb") as source, packed.open(info, "w", force_zip64=large) as target:
                shutil.copyfileobj(source, target, 1 << 20)


def _padding(position: int, name: str, large: bool) -> bytes:
    """An extra field that lets the data after the header start at a multiple of the alignment."""
    start = position + 30 + len(name.encode()) + 4 + (_ZIP64_FIELD_BYTES if large else 0)
    gap = -start % _ALIGNMENT
    return _PADDING_ID.to_bytes(2, "little") + gap.to_bytes(2, "little") + bytes(gap)

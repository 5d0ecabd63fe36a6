"""Opens a bundle, folder or archive, without unpacking it."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np

from modelport.bundle.manifest import (
    MANIFEST_LIMIT_BYTES,
    MANIFEST_NAME,
    CaseEntry,
    FileEntry,
    Manifest,
    VariantEntry,
    from_json,
)
from modelport.errors import BundleError, BundleFormatError, ChecksumError
from modelport.types import Array, Artifact, Blob, Signature

_REBUILD = "It was damaged or altered after it was written: copy or build the bundle again"


class Bundle:
    """A bundle on disk: its manifest, and its files, each checked before its first use.

    Attributes:
        path: the folder or archive.
        manifest: what `modelport.json` says.
    """

    def __init__(self, path: str | Path, within: str = "") -> None:
        """Opens a bundle and checks that every listed file is there with its full size.

        Args:
            within: a folder inside of the folder or archive, where the bundle is one of several.

        Raises:
            BundleError: where there is nothing at that path, or something that is no whole bundle.
        """
        self.path = Path(path) / within
        store = _open_store(Path(path))
        self._store = _Within(store, within) if within else store
        self.manifest: Manifest = from_json(
            self._store.manifest_bytes(), f"{self.path}: {MANIFEST_NAME}"
        )
        self._checked: set[str] = set()
        for entry in self.manifest.files:
            self._check_size(entry)

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, default={self.manifest.default!r})"

    @cached_property
    def signature(self) -> Signature:
        return self.manifest.signature.to_signature()

    def blob(self, path: str) -> Blob:
        """The bytes of a listed file, after comparing them with its sha256."""
        entry = self.manifest.file(path)
        blob = self._store.blob(path)
        if path not in self._checked:
            try:
                actual = hashlib.sha256(blob.view()).hexdigest()
            except OSError as error:
                raise BundleError(
                    f"{self.path}: {path} cannot be read ({error.strerror})", hint=_REBUILD
                ) from error
            if actual != entry.sha256:
                raise ChecksumError(f"{self.path}: {path} does not match its sha256", hint=_REBUILD)
            self._checked.add(path)
        return blob

    def arrays(self, path: str) -> dict[str, Array]:
        """The arrays of an `.npz` file of the bundle, none of them compressed."""
        with io.BytesIO(self.blob(path).view()) as stream:
            try:
                _demand_stored(stream)
                with np.load(stream, allow_pickle=False) as loaded:
                    found = {name: loaded[name] for name in loaded.files}
            except Exception as error:  # numpy and zipfile raise a dozen kinds for damaged bytes
                raise BundleFormatError(f"{self.path}: {path} holds no plain arrays") from error
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise BundleFormatError(f"{self.path}: {path} holds something besides plain arrays")
        return found

    def artifact(self, variant: VariantEntry) -> Artifact:
        """What the variant's engine loads.

        Raises:
            BundleError: where the variant was rejected and so has no files.
        """
        if not variant.files:
            raise BundleError(
                f"The variant {variant.name!r} is not in {self.path}: {variant.reason}",
                expected=f"one of {', '.join(entry.name for entry in self.variants)}",
            )
        return Artifact(
            engine=variant.engine,
            signature=self.signature,
            files={role: self.blob(path) for role, path in variant.files.items()},
            options=variant.options,
        )

    @property
    def variants(self) -> tuple[VariantEntry, ...]:
        """The variants that have files, the default one first."""
        present = [entry for entry in self.manifest.variants if entry.files]
        return tuple(sorted(present, key=lambda entry: entry.name != self.manifest.default))

    @property
    def cases(self) -> tuple[CaseEntry, ...]:
        return self.manifest.cases

    def check_files(self) -> int:
        """Compares every file with its sha256 and returns how many there are.

        Raises:
            ChecksumError: naming the first file that differs.
            BundleFormatError: where the bundle has a file that its manifest does not list.
        """
        listed = {entry.path for entry in self.manifest.files} | {MANIFEST_NAME}
        surplus = sorted(set(self._store.names()) - listed)
        if surplus:
            raise BundleFormatError(
                f"{self.path} has a file that its manifest does not list: {surplus[0]}",
                hint=_REBUILD,
            )
        for entry in self.manifest.files:
            self.blob(entry.path)
        return len(self.manifest.files)

    def _check_size(self, entry: FileEntry) -> None:
        actual = self._store.size(entry.path)
        if actual is None:
            raise BundleError(f"{self.path} lacks its file {entry.path}", hint=_REBUILD)
        if actual != entry.size_bytes:
            raise ChecksumError(
                f"{self.path}: {entry.path} has {actual} bytes",
                expected=f"{entry.size_bytes} bytes",
                hint=_REBUILD,
            )


def _demand_stored(stream: io.BytesIO) -> None:
    """A few compressed bytes can unpack to more than the machine has; ours are never compressed."""
    with zipfile.ZipFile(stream) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed arrays")
    stream.seek(0)


class _Store(ABC):
    """Named files of a bundle, wherever they lie."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]: ...

    @abstractmethod
    def size(self, name: str) -> int | None: ...

    @abstractmethod
    def blob(self, name: str) -> Blob: ...

    def manifest_bytes(self) -> bytes:
        size = self.size(MANIFEST_NAME)
        if size is None:
            raise BundleFormatError(
                f"{self.path} has no {MANIFEST_NAME}",
                expected="a bundle written by modelport deploy",
            )
        if size > MANIFEST_LIMIT_BYTES:
            raise BundleFormatError(
                f"{self.path}: {MANIFEST_NAME} has {size} bytes, too many for a manifest"
            )
        return bytes(self.blob(MANIFEST_NAME).view())


class _Folder(_Store):
    def names(self) -> list[str]:
        return [
            path.relative_to(self.path).as_posix()
            for path in self.path.rglob("*")
            if path.is_file() or path.is_symlink()
        ]

    def size(self, name: str) -> int | None:
        path = self._inside(name)
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError:  # a name longer than file systems take
            return None

    def blob(self, name: str) -> Blob:
        return Blob(self._inside(name))

    def _inside(self, name: str) -> Path:
        path = self.path / name
        try:
            inside = path.resolve().is_relative_to(self.path.resolve())
        except (OSError, RuntimeError) as error:
            raise BundleFormatError(f"{self.path}: {name} is a link that leads nowhere") from error
        if not inside:
            raise BundleFormatError(f"{self.path}: {name} is a link that leaves the bundle")
        return path


class _Archive(_Store):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}
                count = len(archive.infolist())
        except Exception as error:  # zipfile raises a dozen kinds for a damaged index
            raise BundleFormatError(
                f"{path} is neither a folder nor a whole zip archive ({error})", hint=_REBUILD
            ) from error
        if count != len(self._entries):
            raise BundleFormatError(f"{path} has two entries of one name", hint=_REBUILD)

    def names(self) -> list[str]:
        return [name for name in self._entries if not name.endswith("/")]

    def size(self, name: str) -> int | None:
        entry = self._entries.get(name)
        return None if entry is None else entry.file_size

    def blob(self, name: str) -> Blob:
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise BundleFormatError(
                f"{self.path}: the entry {name} is compressed",
                expected="an archive whose entries are stored",
                hint="Unpack it to a folder, which opens as a bundle too",
            )
        offset = self._data_offset(entry)
        if offset + entry.file_size > self.path.stat().st_size:
            raise BundleFormatError(
                f"{self.path}: the entry {name} reaches beyond the end of the archive",
                hint=_REBUILD,
            )
        return Blob(self.path, offset, entry.file_size)

    def _data_offset(self, entry: zipfile.ZipInfo) -> int:
        """Where the bytes begin: after the local header, whose lengths may differ from the index."""
        with open(self.path, "rb") as file:
            file.seek(max(0, entry.header_offset))  # a damaged index makes it negative
            header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise BundleFormatError(f"{self.path} has no entry where its index says", hint=_REBUILD)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return entry.header_offset + 30 + int(name_length) + int(extra_length)


class _Within(_Store):
    """A folder of another store."""

    def __init__(self, store: _Store, folder: str) -> None:
        super().__init__(store.path / folder)
        self._store, self._prefix = store, f"{folder}/"

    def names(self) -> list[str]:
        start = len(self._prefix)
        return [name[start:] for name in self._store.names() if name.startswith(self._prefix)]

    def size(self, name: str) -> int | None:
        return self._store.size(self._prefix + name)

    def blob(self, name: str) -> Blob:
        return self._store.blob(self._prefix + name)


def small_file(path: Path, name: str) -> bytes | None:
    """The bytes of a file in a folder or archive; None where there is no such file.

    Raises:
        BundleError: where there is neither at that path, or the file is too large for a description.
    """
    store = _open_store(path)
    size = store.size(name)
    if size is None:
        return None
    if size > MANIFEST_LIMIT_BYTES:
        raise BundleFormatError(f"{path}: {name} has {size} bytes, too many for a description")
    return bytes(store.blob(name).view())


def _open_store(path: Path) -> _Store:
    if path.is_dir():
        return _Folder(path)
    if path.is_file():
        return _Archive(path)
    raise BundleError(
        f"There is no bundle at {path}",
        expected="a folder or a .zip file written by modelport deploy",
        hint="Check the path",
    )

"""Files that somebody else wrote: read with limits, and never from outside of their folder."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from modelport.errors import BundleError, BundleFormatError

TEXT_LIMIT_BYTES = 16 * 1024 * 1024
"""Most that a description may have; those that toolkits write have some thousand bytes."""


class Folder:
    """A folder of another toolkit.

    Args:
        path: the folder.
        toolkit: who wrote it, for messages.
    """

    def __init__(self, path: Path, toolkit: str) -> None:
        self.path = path
        self.toolkit = toolkit

    def has(self, name: str) -> bool:
        """Whether there is something of that name, a link that leads nowhere among it."""
        path = self.path / name
        return path.exists() or path.is_symlink()

    def names(self, pattern: str) -> list[str]:
        """Relative paths of what matches the pattern, sorted."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.glob(pattern))

    def file(self, name: str) -> Path:
        """The path of a file in the folder.

        Raises:
            BundleFormatError: where the name, or a link, leads out of the folder.
            BundleError: where there is no such file.
        """
        if _leaves(name):
            raise BundleFormatError(
                f"{self.path} names the file {name!r}, which is not inside of it",
                expected="the relative path of a file in the folder",
                hint=f"Export the model with {self.toolkit} again",
            )
        path = self.path / name
        try:
            inside = path.resolve().is_relative_to(self.path.resolve())
            there = path.is_file()
        except (OSError, RuntimeError, ValueError) as error:
            raise BundleFormatError(f"{self.path}: {name!r} cannot be opened ({error})") from error
        if not inside:
            raise BundleFormatError(
                f"{self.path}: {name} is a link that leaves the folder",
                hint="Copy the folder with the files that its links lead to: cp -rL FROM TO",
            )
        if not there:
            raise BundleError(
                f"{self.path} lacks its file {name}",
                hint=f"Copy the whole folder, or export the model with {self.toolkit} again",
            )
        return path

    def text(self, name: str) -> str:
        """The text of a small file in UTF-8."""
        path = self.file(name)
        try:
            size = path.stat().st_size
            if size > TEXT_LIMIT_BYTES:
                raise BundleFormatError(
                    f"{path} has {size} bytes, too many for a description",
                    expected=f"at most {TEXT_LIMIT_BYTES}",
                )
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise BundleFormatError(f"{path} is no text in UTF-8 ({error.reason})") from error
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror})") from error

    def json(self, name: str) -> Fields:
        """The object in a JSON file."""
        return Fields(self._parsed(name), str(self.path / name))

    def listed(self, name: str) -> list[Any]:
        """The list in a JSON file."""
        found = self._parsed(name)
        if not isinstance(found, list):
            raise BundleFormatError(f"{self.path / name} is {_kind(found)}", expected="a list")
        return found

    def _parsed(self, name: str) -> Any:
        path = self.path / name
        text = self.text(name)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleFormatError(
                f"{path} is not JSON ({error})",
                expected=f"what {self.toolkit} writes",
                hint=f"Copy the file again, or export the model with {self.toolkit} again",
            ) from error


def _leaves(name: str) -> bool:
    parts = PurePosixPath(name).parts
    strange = name.startswith("/") or any(sign in name for sign in "\\:\0")
    return not parts or strange or ".." in parts


class Fields:
    """A JSON object whose fields are read with the types they must have.

    Args:
        content: the parsed JSON.
        where: the file, and the place in it, for messages.

    Raises:
        BundleFormatError: where it is no object, or a field is missing or of another type.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise BundleFormatError(f"{where} is {_kind(content)}", expected="an object")
        self._content: dict[str, Any] = content
        self.where = where

    def __contains__(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self._content.get(key) is not None

    def plain(self) -> dict[str, Any]:
        """All of it, unchecked."""
        return self._content

    def raw(self, key: str) -> Any:
        """A field as it is; None where it is missing."""
        return self._content.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._read(key, (str,), "text", default))

    def flag(self, key: str, default: bool | None = None) -> bool:
        return bool(self._read(key, (bool,), "true or false", default))

    def whole(self, key: str, default: int | None = None) -> int:
        found = self._read(key, (int,), "a whole number", default)
        return int(found)

    def number(self, key: str, default: float | None = None) -> float:
        return float(self._read(key, (int, float), "a number", default))

    def inner(self, key: str, default: dict[str, Any] | None = None) -> Fields:
        return Fields(self._read(key, (dict,), "an object", default), f"{self.where}: {key}")

    def items(self, key: str, default: list[Any] | None = None) -> list[Any]:
        found: list[Any] = self._read(key, (list,), "a list", default)
        return found

    def objects(self, key: str) -> list[Fields]:
        """A list of objects."""
        return [
            Fields(item, f"{self.where}: {key}[{index}]")
            for index, item in enumerate(self.items(key))
        ]

    def numbers(self, key: str, default: list[float] | None = None) -> list[float]:
        """A list of numbers."""
        found = self.items(key, default)
        if not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in found):
            raise BundleFormatError(f"{self.where}: {key} is {found!r:.80}", expected="numbers")
        return [float(n) for n in found]

    def _read(self, key: str, kinds: tuple[type, ...], wanted: str, default: Any) -> Any:
        found = self._content.get(key)
        if found is None:
            if default is None:
                raise BundleFormatError(f"{self.where} has no {key!r}", expected=wanted)
            return default
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            raise BundleFormatError(f"{self.where}: {key} is {_kind(found)}", expected=wanted)
        return found


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), f"the number {value!r:.40}")

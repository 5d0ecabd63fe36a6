"""From a text to the tokens that a model reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt, field_validator

from modelport.errors import DataError, EngineUnavailableError, UsageError
from modelport.runtime.transforms.base import Prepared, Preprocessor, Stage, Stopwatch, Transform
from modelport.types import Array

_PADS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")
"""Tokens that fill up a row, by their usual names, where a file says nothing of padding."""

Side = Literal["right", "left"]


class Tokenize(Transform):
    """Cuts a text into tokens, as the `tokenizer.json` of Hugging Face says.

    The file goes into the bundle. What it says of lower case, special tokens and the like holds; what it
    says of padding and truncation does not, for that is declared here.

    Attributes:
        file: the `tokenizer.json`.
        max_length: tokens, special ones included, that a text may have; the rest is cut off.
        padding: `longest` fills rows up to the longest text of a call, `max_length` always up to that.
        multiple: rows are filled up to a multiple of it.
        ids: name of the model's input that takes the numbers of the tokens.
        mask: of the input that takes a one for each token and a zero for each filler; None without one.
        types: of the input that takes a zero for tokens of the first text and a one for those of the
            second; None without one.
        pad_id: number of the filling token; by default the file's own.
        pad_side, cut_side: where rows are filled up, and where long texts are cut.
        special: whether the file's special tokens surround a text.
        dtype: of the tensors.
    """

    stage: ClassVar[Stage] = Stage.DECODE
    medium: ClassVar[str] = "text"
    assets: ClassVar[tuple[str, ...]] = ("file",)

    kind: Literal["tokenize"] = "tokenize"
    file: str
    max_length: PositiveInt
    padding: Literal["longest", "max_length"] = "longest"
    multiple: PositiveInt = 1
    ids: str = "input_ids"
    mask: str | None = "attention_mask"
    types: str | None = None
    pad_id: NonNegativeInt | None = None
    pad_side: Side = "right"
    cut_side: Side = "right"
    special: bool = True
    dtype: Literal["int64", "int32"] = "int64"

    @field_validator("file", mode="before")
    @classmethod
    def _as_text(cls, file: Any) -> Any:
        return os.fspath(file) if isinstance(file, os.PathLike) else file


class TextPreprocessor(Preprocessor):
    """One text, or a pair of them, to one row of each input.

    Raises:
        EngineUnavailableError: where the package `tokenizers` is not installed.
        DataError: where the tokenizer's file cannot be read.
        UsageError: where the transforms are not a single `tokenize`.
    """

    medium: ClassVar[str] = "text"

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__(transforms)
        self.tokenize = _single(transforms)
        self._tokenizer = _tokenizer(self.tokenize)
        self._pad_id = _pad_id(self.tokenize, self._tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(
            self.tokenize.max_length, direction=self.tokenize.cut_side
        )

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """The tensors of a text, each 1 x tokens.

        Args:
            item: a text; a `Path`, whose file is one text; or `{"text": ..., "pair": ...}` for models that
                read two texts together.
        """
        watch = watch or Stopwatch()
        text, pair = _texts(item)
        tokenize = self.tokenize
        found = self._tokenizer.encode(text, pair, add_special_tokens=tokenize.special)
        rows = {tokenize.ids: found.ids}
        if tokenize.mask is not None:
            rows[tokenize.mask] = found.attention_mask
        if tokenize.types is not None:
            rows[tokenize.types] = found.type_ids
        if not found.ids:
            raise DataError("The text has no tokens", expected="a text of at least one word")
        tensors = {name: np.asarray([row], tokenize.dtype) for name, row in rows.items()}
        prepared = Prepared(self._filled(tensors, self._length(len(found.ids))))
        watch.lap("tokenize")
        return prepared

    def together(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Rows as long as the longest.

        Not without a mask, for else fillers would be read as tokens; nor with fillers on the left, for
        the mask of a text alone must fit the left end of its row.
        """
        if self.tokenize.mask is None or self.tokenize.pad_side == "left":
            return list(prepared)
        longest = max((each.first.shape[1] for each in prepared), default=0)
        return [Prepared(self._filled(each.tensors, longest)) for each in prepared]

    def samples(self, path: Path) -> Iterator[Prepared]:
        """Each line of a file that is not empty is one text."""
        for line in _read(path).splitlines():
            if line.strip():
                yield self.prepare(line)

    def _length(self, tokens: int) -> int:
        tokenize = self.tokenize
        if tokenize.padding == "max_length":
            return tokenize.max_length
        return -(-tokens // tokenize.multiple) * tokenize.multiple

    def _filled(self, tensors: Mapping[str, Array], length: int) -> dict[str, Array]:
        """Rows of that length; the mask and the types are filled up with zeros."""
        fillers = {self.tokenize.ids: self._pad_id}
        return {
            name: _row(tensor, length, fillers.get(name, 0), self.tokenize.pad_side)
            for name, tensor in tensors.items()
        }


def _row(tensor: Array, length: int, filler: int, side: Side) -> Array:
    missing = length - tensor.shape[1]
    if missing <= 0:
        return tensor
    ends = (0, missing) if side == "right" else (missing, 0)
    return np.pad(tensor, ((0, 0), ends), constant_values=filler)


def _single(transforms: Sequence[Transform]) -> Tokenize:
    found = transforms[0]
    if len(transforms) != 1 or not isinstance(found, Tokenize):
        kinds = ", ".join(str(getattr(each, "kind", "?")) for each in transforms)
        raise UsageError(f"The transforms are {kinds}", expected="a single tokenize for a text")
    return found


def _tokenizer(tokenize: Tokenize) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            "This model reads tokens, and the package tokenizers is not installed",
            hint='Install it with: pip install "modelport[text]"',
        ) from error
    data = tokenize.asset("file")
    try:
        return Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # its parser raises plain Exception
        raise DataError(
            f"{tokenize.file} cannot be read as a tokenizer ({' '.join(str(error).split())[:120]})",
            expected="the tokenizer.json that a fast tokenizer of Hugging Face writes",
        ) from error


def _pad_id(tokenize: Tokenize, tokenizer: Any) -> int:
    if tokenize.pad_id is not None:
        return tokenize.pad_id
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    found = (tokenizer.token_to_id(name) for name in _PADS)
    return next((number for number in found if number is not None), 0)


def _texts(item: Any) -> tuple[str, str | None]:
    if isinstance(item, str):
        return item, None
    if isinstance(item, Path):
        return _read(item), None
    if isinstance(item, Mapping) and {"text"} <= set(item) <= {"text", "pair"}:
        pair = item.get("pair")
        if isinstance(item["text"], str) and (pair is None or isinstance(pair, str)):
            return item["text"], pair
    raise DataError(
        f"A {type(item).__name__} is not a text",
        expected='a str, a pathlib.Path to a file of text, or {"text": ..., "pair": ...}',
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({' '.join(str(error).split())[:120]})",
            expected="a file of UTF-8 text",
        ) from error

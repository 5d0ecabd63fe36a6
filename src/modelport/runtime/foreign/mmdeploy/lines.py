"""Components of MMOCR: where text is, and what it says."""

from __future__ import annotations

from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.mmdeploy.asking import Asked, Found

DIGITS, LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"
MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]_`~"
DICTIONARIES = {"DICT36": DIGITS + LETTERS, "DICT90": DIGITS + LETTERS + LETTERS.upper() + MARKS}
"""Of MMOCR's `dict_type`: 36 and 90 characters."""


def db_head(asked: Asked) -> Found:
    """`DBHead` of DBNet."""
    fields = asked.fields
    if fields.text("text_repr_type", "quad") != "quad":
        raise asked.no_counterpart("text_repr_type", "quad")
    if fields.number("downsample_ratio", 1.0) != 1:
        raise asked.no_counterpart("downsample_ratio", "1")
    asked.first("output")
    parameters: dict[str, Any] = {
        "thresh": fields.number("mask_thr", 0.3),
        "box_thresh": fields.number("min_text_score", 0.3),
        "unclip_ratio": fields.number("unclip_ratio", 1.5),
        "max_candidates": fields.whole("max_candidate", 3000),
    }
    note = (
        "MMDeploy leaves lines out that are narrower than min_text_width cells of the map; modelport "
        "goes by the shorter side of a line, 3 pixels"
    )
    return Found("text_detection", parameters, has_labels=False, notes=(note,))


def ctc(asked: Asked) -> Found:
    """`CTCConvertor`: the padding token is the blank."""
    characters, tokens = _dictionary(asked)
    if "padding" not in tokens:
        raise asked.no_counterpart("with_padding", "true: the padding token is the blank of CTC")
    return _text(asked, characters, tokens, {"decoder": "ctc", "blank": tokens["padding"]})


def attention(asked: Asked) -> Found:
    """`AttnConvertor`: reads to the end token."""
    characters, tokens = _dictionary(asked)
    if "end" not in tokens:
        raise asked.no_counterpart("with_end", "true: the end token ends a text")
    return _text(asked, characters, tokens, {"decoder": "attention", "end": tokens["end"]})


def _text(
    asked: Asked, characters: list[str], tokens: dict[str, int], parameters: dict[str, Any]
) -> Found:
    asked.first("output")
    ends = {parameters.get("blank"), parameters.get("end")}
    ignored = sorted({number for number in tokens.values() if number not in ends})
    return Found("text_recognition", {**parameters, "ignored": ignored}, characters)


def _dictionary(asked: Asked) -> tuple[list[str], dict[str, int]]:
    """The characters by class with their tokens, and the classes of the tokens.

    Tokens stand behind the characters: start, end, padding, unknown, as far as there are.
    """
    fields = asked.fields
    characters = _characters(asked)
    tokens: dict[str, int] = {}
    start, end = fields.flag("with_start", False), fields.flag("with_end", False)
    if start and end and fields.flag("same_start_end", False):
        tokens["start"] = tokens["end"] = len(characters)
        characters.append("<BOS/EOS>")
    else:
        for name, there in (("start", start), ("end", end)):
            if there:
                tokens[name] = len(characters)
                characters.append(f"<{name}>")
    if fields.flag("with_padding", False):
        tokens["padding"] = len(characters)
        characters.append("<PAD>")
    if fields.flag("with_unknown", False) and "unknown_token" in fields:
        tokens["unknown"] = len(characters)
        characters.append("<UKN>")
    return characters, tokens


def _characters(asked: Asked) -> list[str]:
    fields = asked.fields
    if "dict_file" in fields:
        text = asked.folder.text(fields.text("dict_file"))
        return text.removesuffix("\n").split("\n")
    if "dict_list" in fields:
        found = fields.items("dict_list")
        if not all(isinstance(each, str) for each in found):
            raise BundleFormatError(f"{fields.where}: dict_list is no list of text")
        return list(found)
    kind = fields.text("dict_type", "")
    if kind not in DICTIONARIES:
        raise asked.no_counterpart("dict_type", "dict_file, dict_list, DICT36 or DICT90")
    return list(DICTIONARIES[kind])

"""The tokens of a text model, from `tokenizer.json` and `tokenizer_config.json`."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.runtime.foreign.folder import Fields, Folder
from modelport.runtime.transforms import Tokenize, Transform
from modelport.types import Signature

PICTURES, TEXT, MASK, TYPES = "pixel_values", "input_ids", "attention_mask", "token_type_ids"
TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"

SENTENCES = "sentence_bert_config.json"
"""Of sentence-transformers, which cut texts shorter than the network could take."""

UNLIMITED = 1_000_000
"""A length from which on a configuration means that there is none: transformers writes 10**30."""

LONG = 512
"""Tokens, where nothing says how many a model was made for."""


def tokens_of(
    folder: Folder, config: Fields, inputs: Sequence[str], signature: Signature
) -> tuple[list[Transform], list[str]]:
    """What makes the inputs from a text; none, and the reason, where there are others."""
    others = [name for name in inputs if name not in (TEXT, MASK, TYPES)]
    if others:
        return [], [
            f"the model takes {', '.join(others)} too, which nothing prepares: feed it tensors"
        ]
    if not folder.has(TOKENIZER):
        return [], [
            f"the folder has no {TOKENIZER}, so texts cannot be cut into tokens: feed it tensors"
        ]
    settings = folder.json(SETTINGS) if folder.has(SETTINGS) else Fields({}, SETTINGS)
    own = folder.json(SENTENCES) if folder.has(SENTENCES) else Fields({}, SENTENCES)
    length, notes = _length(own, settings, config)
    fixed = signature.inputs[0].shape[-1] if signature.inputs[0].shape else None
    if isinstance(fixed, int):
        length, notes = fixed, []
    sides = {"right": "right", "left": "left"}
    made = Tokenize.model_validate(
        {
            "file": str(folder.file(TOKENIZER)),
            "max_length": length,
            "padding": "max_length" if isinstance(fixed, int) else "longest",
            "mask": MASK if MASK in inputs else None,
            "types": TYPES if TYPES in inputs else None,
            "pad_id": config.whole("pad_token_id") if _is_index(config, "pad_token_id") else None,
            "pad_side": sides.get(settings.text("padding_side", "right"), "right"),
            "cut_side": sides.get(settings.text("truncation_side", "right"), "right"),
            "dtype": signature.inputs[0].dtype,
        }
    )
    return [made], notes


def _is_index(config: Fields, key: str) -> bool:
    value = config.raw(key)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _length(own: Fields, settings: Fields, config: Fields) -> tuple[int, list[str]]:
    """The tokens that a text may have."""
    places = (
        (own, "max_seq_length"),
        (settings, "model_max_length"),
        (config, "max_position_embeddings"),
    )
    for source, key in places:
        if key in source and 0 < source.number(key) < UNLIMITED:
            return int(source.number(key)), []
    return LONG, [f"nothing says how long a text may be, so {LONG} tokens are kept"]

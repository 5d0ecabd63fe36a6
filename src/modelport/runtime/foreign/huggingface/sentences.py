"""Models of sentence-transformers: `modules.json` says what stands behind the network."""

from __future__ import annotations

from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Fields, Folder
from modelport.runtime.foreign.huggingface.tasks import Found
from modelport.runtime.foreign.huggingface.text import MASK
from modelport.types import Signature

MODULES = "modules.json"

POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
"""Ways to make one vector of those of all tokens; several would stand side by side."""

TOKENS, SENTENCE = ("token_embeddings", "last_hidden_state"), "sentence_embedding"


def sentences_of(folder: Folder, signature: Signature) -> Found | None:
    """The task `embedding`; None where the folder is not one of sentence-transformers."""
    if not folder.has(MODULES):
        return None
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    outputs = [spec.name for spec in signature.outputs]
    strange = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if SENTENCE in outputs:  # Optimum exports all of it
        return Found("embedding", {"output": SENTENCE, "pooling": "as_is", "normalise": False})
    if strange:
        return _tensors(f"{MODULES} has a module {strange[0]}")
    pooling = next((path for kind, path in modules if kind == "Pooling"), None)
    tokens = next((name for name in TOKENS if name in outputs), None)
    if pooling is None or tokens is None:
        return _tensors(f"it gives {', '.join(outputs)}, and {MODULES} pools nothing of that")
    how = _pooling(folder.json(f"{pooling}/config.json"))
    if how is None:
        return _tensors("its pooling is none of cls, mean, max and last alone")
    parameters: dict[str, Any] = {"output": tokens, "pooling": how}
    if any(spec.name == MASK for spec in signature.inputs):
        parameters["mask"] = MASK
    return Found("embedding", {**parameters, "normalise": "Normalize" in kinds})


def _tensors(reason: str) -> Found:
    return Found("tensors", notes=(f"{reason}, so the outputs come as tensors",))


def _modules(folder: Folder) -> list[tuple[str, str]]:
    """Kind and folder of each, in order."""
    entries = Fields({"modules": folder.listed(MODULES)}, MODULES).objects("modules")
    return [(entry.text("type").rpartition(".")[2], entry.text("path", "")) for entry in entries]


def _pooling(config: Fields) -> str | None:
    if "pooling_mode" in config:
        word = config.text("pooling_mode").removesuffix("token")
        return word if word in POOLINGS.values() else None
    chosen = [key for key in config.plain() if key.startswith("pooling_mode_") and config.flag(key)]
    if not chosen:
        raise BundleFormatError(f"{config.where} names no pooling")
    return POOLINGS.get(chosen[0]) if len(chosen) == 1 else None

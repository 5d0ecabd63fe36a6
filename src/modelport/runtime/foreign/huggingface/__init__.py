"""Folders of Hugging Face with an ONNX file, as Optimum and transformers.js lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.errors import BundleError, BundleFormatError
from modelport.runtime.foreign.base import ForeignBundle, Meaning, Model, Opener
from modelport.runtime.foreign.folder import Fields, Folder
from modelport.runtime.foreign.huggingface.pictures import transforms_of
from modelport.runtime.foreign.huggingface.sentences import sentences_of
from modelport.runtime.foreign.huggingface.tasks import labels_of, task_of
from modelport.runtime.foreign.huggingface.text import PICTURES, TEXT, tokens_of
from modelport.runtime.foreign.networks import onnx_model
from modelport.runtime.transforms import Transform
from modelport.types import Signature

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
PLACES = ("", "onnx/")
"""Where the networks are: Optimum writes beside the configuration, transformers.js wants a folder."""

PRECISIONS = {"": "fp32", "fp16": "fp16", "quantized": "int8", "int8": "int8", "uint8": "int8"}
"""By what follows `model_` in the name of the file; other words stand for themselves."""


class HuggingFaceOpener(Opener):
    name: ClassVar[str] = "huggingface"
    summary: ClassVar[str] = "a Hugging Face folder with an ONNX file"
    marks: ClassVar[str] = f"{CONFIG} and model.onnx or onnx/model.onnx"

    def claims(self, path: Path) -> bool:
        return (path / CONFIG).exists() and any(any(path.glob(f"{p}*.onnx")) for p in PLACES)

    def open(self, path: Path) -> ForeignBundle:
        folder = Folder(path, "Hugging Face's Optimum")
        config = folder.json(CONFIG)
        models, notes = _models(folder)
        signature = models[0].signature
        found = sentences_of(folder, signature) or task_of(config, signature)
        transforms, missing = _transforms(folder, config, signature)
        meaning = Meaning(
            name=path.resolve().name,
            toolkit=f"transformers {config.text('transformers_version', '')}".strip(),
            task=found.task,
            parameters=found.parameters,
            transforms=transforms,
            labels=labels_of(config),
            notes=(*notes, *found.notes, *missing),
        )
        return ForeignBundle(path, meaning, models)


def _models(folder: Folder) -> tuple[list[Model], list[str]]:
    """The default first; what differs in its inputs is left out, and told."""
    files = _files(folder)
    found = [_model(folder, name) for name in files]
    first = found[0]
    same = [model for model in found if model.signature.inputs == first.signature.inputs]
    notes = [
        f"the variant {model.name} takes other inputs than {first.name}, so it is left out"
        for model in found
        if model not in same
    ]
    return same, notes


def _files(folder: Folder) -> list[str]:
    """`model.onnx` first, then its kin."""
    for place in PLACES:
        names = folder.names(f"{place}model*.onnx")
        kin = [name for name in names if _word(name) is not None]
        if kin:
            return sorted(kin, key=lambda name: (_word(name) != "", name))
    others = [name for place in PLACES for name in folder.names(f"{place}*.onnx")]
    raise BundleError(
        f"{folder.path} has the networks {', '.join(others)}, and no model.onnx",
        expected="a model of one network",
        hint="Open one of the files by itself, or chain bundles of them as a pipeline",
    )


def _word(name: str) -> str | None:
    """What tells the file from `model.onnx`; None where it is no kin of that."""
    stem = name.rpartition("/")[2].removesuffix(".onnx")
    if stem == "model":
        return ""
    return stem.removeprefix("model_") if stem.startswith("model_") else None


def _model(folder: Folder, name: str) -> Model:
    word = _word(name) or ""
    model, _ = onnx_model(folder.file(name), word or "fp32")
    return Model(
        name=model.name,
        engine=model.engine,
        precision=PRECISIONS.get(word, word),
        signature=model.signature,
        files=model.files,
    )


def _transforms(
    folder: Folder, config: Fields, signature: Signature
) -> tuple[list[Transform], list[str]]:
    """For the medium of the first input; none, and the reason, where nothing here prepares it."""
    inputs = [spec.name for spec in signature.inputs]
    if folder.has(PROCESSOR) and (PICTURES in inputs or _takes_a_picture(signature)):
        others = [name for name in inputs if name != PICTURES][PICTURES not in inputs :]
        if others:
            told = ", ".join(others)
            return [], [f"the model takes {told} too, which nothing prepares: feed it tensors"]
        try:
            return transforms_of(folder.json(PROCESSOR), signature.inputs[0].dtype), []
        except BundleFormatError as error:
            if "no counterpart" not in error.seen:
                raise
            return [], [f"{error.seen}: feed it tensors"]
    if TEXT in inputs:
        return tokens_of(folder, config, inputs, signature)
    return [], [f"nothing in the folder says what {inputs[0]} is made from: feed it tensors"]


def _takes_a_picture(signature: Signature) -> bool:
    """Whether its only input is of four dimensions, whatever its name."""
    return len(signature.inputs) == 1 and len(signature.inputs[0].shape) == 4

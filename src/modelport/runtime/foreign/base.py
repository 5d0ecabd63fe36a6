"""The contract of an opener, and what it makes of a folder: a bundle that is only in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from modelport.bundle.manifest import (
    Manifest,
    Provenance,
    SignatureEntry,
    TaskEntry,
    VariantEntry,
)
from modelport.bundle.read import Bundle
from modelport.errors import BundleFormatError
from modelport.runtime.tasks import TASKS
from modelport.runtime.transforms import Transform, dump
from modelport.types import Blob, Signature


@dataclass(frozen=True)
class Model:
    """One network of a folder.

    Attributes:
        name: of the variant.
        files: by the engine's names for its files, as `Artifact` has them.
    """

    name: str
    engine: str
    precision: str
    signature: Signature
    files: Mapping[str, Path]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Meaning:
    """What a folder says besides its networks.

    Attributes:
        toolkit: who wrote it, with the version where it says.
        task: name and parameters; parameters are checked by the task itself.
        notes: what it does not say, and what was assumed.
    """

    name: str
    toolkit: str
    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    transforms: Sequence[Transform] = ()
    labels: Sequence[str] | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()


class ForeignBundle(Bundle):
    """A folder or file of another toolkit, read as a bundle. Nothing is written, and nothing converted.

    It has no golden cases and no checksums, so its files count as they are.
    """

    def __init__(self, path: Path, meaning: Meaning, models: Sequence[Model]) -> None:
        """The first of the models is the default.

        Raises:
            BundleFormatError: where the task refuses the parameters, or a name cannot be in a manifest.
        """
        self.path = path
        self._meaning, self._models = meaning, tuple(models)
        self._blobs = {
            f"{model.name}/{role}": Blob(file)
            for model in models
            for role, file in model.files.items()
        }
        for step in meaning.transforms:
            assets = [str(getattr(step, name)) for name in step.assets]
            self._blobs.update({name: Blob(Path(name)) for name in assets})
        TASKS.get(meaning.task).parameters(meaning.parameters)
        try:
            self.manifest = _manifest(path, meaning, models)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BundleFormatError(f"{path} cannot be opened: {where} {first['msg']}") from error

    def described(
        self,
        *,
        task: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        transforms: Sequence[Transform] | None = None,
        labels: Sequence[str] | None = None,
        name: str | None = None,
    ) -> ForeignBundle:
        """The same networks with a task and transforms of the caller's, in the words of `Source`.

        What is left out stays as the folder says it.

        Raises:
            UsageError: where the task refuses the parameters.
        """
        given: dict[str, Any] = {
            "task": task,
            "parameters": parameters if parameters is not None or task is None else {},
            "transforms": transforms,
            "labels": labels,
            "name": name,
        }
        chosen = {key: value for key, value in given.items() if value is not None}
        words = ", ".join(key for key, value in chosen.items() if value)
        meaning = replace(self._meaning, **chosen, notes=(f"given by whoever opened it: {words}",))
        return ForeignBundle(self.path, meaning, self._models)

    def blob(self, path: str) -> Blob:
        """The bytes of a file, as they are."""
        return self._blobs[path]

    def check_files(self) -> int:
        """How many files there are; there is nothing to compare them with."""
        return len(self._blobs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the folder does not say, and what was assumed."""
        return self.manifest.provenance.notes


class Opener(ABC):
    """Opens what one toolkit writes. Stateless; nothing that a folder holds is ever executed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    marks: ClassVar[str]
    """The files it knows a folder by, for messages."""

    @abstractmethod
    def claims(self, path: Path) -> bool:
        """Whether it looks like something of the toolkit, by the names of files alone."""

    @abstractmethod
    def open(self, path: Path) -> ForeignBundle:
        """Reads it.

        Raises:
            BundleError: where something is missing, damaged, or has no counterpart here; by its name.
        """


def _manifest(path: Path, meaning: Meaning, models: Sequence[Model]) -> Manifest:
    first = models[0]
    changed = max(int(file.stat().st_mtime) for file in first.files.values())
    return Manifest(
        name=meaning.name,
        created=datetime.fromtimestamp(changed, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence=meaning.licence,
        signature=SignatureEntry.of(first.signature),
        transforms=dump(meaning.transforms),
        task=TaskEntry(name=meaning.task, parameters=dict(meaning.parameters)),
        labels=None if meaning.labels is None else tuple(meaning.labels),
        default=first.name,
        variants=tuple(_variant(model, chosen=model is first) for model in models),
        provenance=Provenance(
            source=str(path), exporter=meaning.toolkit, notes=tuple(meaning.notes)
        ),
    )


def _variant(model: Model, chosen: bool) -> VariantEntry:
    return VariantEntry(
        name=model.name,
        engine=model.engine,
        precision=model.precision,
        files={role: f"{model.name}/{role}" for role in model.files},
        options=dict(model.options),
        size_bytes=sum(file.stat().st_size for file in model.files.values()),
        # Nobody has measured the others, so nobody gets them unasked.
        verdict="chosen" if chosen else "converted",
    )

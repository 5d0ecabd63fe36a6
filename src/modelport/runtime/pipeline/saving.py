"""Writes a pipeline: its bundles and its manifest beside their place first, then one move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelport.bundle.manifest import CaseEntry
from modelport.bundle.pipelines import PIPELINE_NAME
from modelport.bundle.read import Bundle
from modelport.bundle.write import put, seal, staged
from modelport.errors import BundleError
from modelport.runtime.pipeline.manifest import PipelineManifest, StageEntry, to_json
from modelport.runtime.pipeline.walking import Step


def save(name: str, steps: Sequence[Step], output: Path, *, overwrite: bool) -> None:
    """Packs the bundles of the stages; one that several stages share is there once.

    Raises:
        BundleError: where `output` exists, or cannot be written; what stood there before still does.
    """
    with staged(output, overwrite=overwrite) as stage:
        places: dict[int, str] = {}
        entries = []
        for step in steps:
            bundle = step.predictor.bundle
            if id(bundle) not in places:
                places[id(bundle)] = f"models/{step.name}"
                _copy(bundle, stage / "models" / step.name)
            chosen = step.predictor.variant.name
            entries.append(
                StageEntry(
                    name=step.name,
                    bundle=places[id(bundle)],
                    takes=step.takes,
                    variant=None if chosen == bundle.manifest.default else chosen,
                    pyramid=step.pyramid,
                    keep=step.keep,
                )
            )
        manifest = PipelineManifest(name=name, stages=tuple(entries))
        try:
            (stage / PIPELINE_NAME).write_bytes(to_json(manifest))
            put(stage, output)
        except OSError as error:
            raise BundleError(
                f"{output} cannot be written ({error.strerror or error})",
                hint="Choose another place",
            ) from error


def _copy(bundle: Bundle, folder: Path) -> None:
    """All files of a bundle, wherever it lies, each checked on its way."""
    for path in sorted(_files(bundle)):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bundle.blob(path).view())
    folder.mkdir(parents=True, exist_ok=True)
    seal(folder, bundle.manifest)


def _files(bundle: Bundle) -> set[str]:
    """Paths of its files; a bundle of another toolkit lists none, and has those of its variants."""
    manifest = bundle.manifest
    listed = {entry.path for entry in manifest.files}
    used = {path for variant in bundle.variants for path in variant.files.values()}
    return listed | used | {path for case in manifest.cases for path in _of_case(case)}


def _of_case(case: CaseEntry) -> list[str]:
    return [path for path in (case.feeds, case.outputs, case.picture) if path is not None]

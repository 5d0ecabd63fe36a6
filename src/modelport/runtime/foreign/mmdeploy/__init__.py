"""Model folders of MMDeploy's SDK: `deploy.json` names the network, `pipeline.json` what surrounds it.

The order and meaning of the fields are those of MMDeploy 1.3; older folders differ in fields that are
not read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.base import ForeignBundle, Meaning, Opener
from modelport.runtime.foreign.folder import Fields, Folder
from modelport.runtime.foreign.mmdeploy.asking import Component
from modelport.runtime.foreign.mmdeploy.components import meaning_of
from modelport.runtime.foreign.mmdeploy.networks import network
from modelport.runtime.foreign.mmdeploy.steps import transforms_of

DEPLOY, PIPELINE, DETAIL = "deploy.json", "pipeline.json", "detail.json"
LABELS = "labels.txt"
"""MMDeploy writes no class names. Whoever has them may put them beside it, one in a line."""

STAGES = ("preprocessing", "a network", "postprocessing")


class MmdeployOpener(Opener):
    name: ClassVar[str] = "mmdeploy"
    summary: ClassVar[str] = "a model folder of MMDeploy's SDK"
    marks: ClassVar[str] = f"{DEPLOY} and {PIPELINE}"

    def claims(self, path: Path) -> bool:
        return path.is_dir() and all((path / name).exists() for name in (DEPLOY, PIPELINE))

    def open(self, path: Path) -> ForeignBundle:
        folder = Folder(path, "MMDeploy")
        deploy = folder.json(DEPLOY)
        before, net, after = _stages(folder)
        model, notes = network(folder, deploy, net)
        transforms, order = transforms_of(before, model.signature, path)
        found = meaning_of(_component(after), model.signature, folder, order)
        labels = found.labels or _labels(folder)
        if labels is None and found.has_labels:
            notes.append(
                f"MMDeploy writes no class names: put a file {LABELS} with one a line into the folder"
            )
        meaning = Meaning(
            name=path.resolve().name,
            toolkit=f"MMDeploy {deploy.text('version', '')}".strip(),
            task=found.task,
            parameters=found.parameters,
            transforms=transforms,
            labels=labels,
            notes=(*notes, *found.notes, *_origin(folder)),
        )
        return ForeignBundle(path, meaning, [model])


def _stages(folder: Folder) -> tuple[Fields, Fields, Fields]:
    """The three tasks of a pipeline of one network."""
    pipeline = folder.json(PIPELINE).inner("pipeline")
    tasks = pipeline.objects("tasks")
    kinds = [task.text("module", task.text("type", "?")) for task in tasks]
    if len(tasks) != 3 or kinds[:2] != ["Transform", "Net"]:
        raise BundleFormatError(
            f"{pipeline.where} has the tasks {', '.join(kinds) or 'none'}",
            expected=f"{', '.join(STAGES[:2])} and {STAGES[2]}: Transform, Net and a codebase's module",
            hint="Open the folder of each of its models by itself, and chain them as a pipeline",
        )
    return tasks[0], tasks[1], tasks[2]


def _component(task: Fields) -> Component:
    return Component(
        module=task.text("module"),
        name=task.text("component", ""),
        fields=task.inner("params", {}),
    )


def _labels(folder: Folder) -> list[str] | None:
    return folder.text(LABELS).splitlines() if folder.has(LABELS) else None


def _origin(folder: Folder) -> list[str]:
    """What `detail.json` says of the source, where it is there."""
    if not folder.has(DETAIL):
        return []
    codebase = folder.json(DETAIL).inner("codebase", {})
    told = [codebase.text(key, "") for key in ("codebase", "version", "config")]
    words = " ".join(part for part in told if part)
    return [f"made from {words}"] if words else []

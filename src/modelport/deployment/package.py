"""Turns what was compiled and measured into the files and entries of a bundle."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, cast

import numpy as np
from PIL import Image

from modelport.bundle.manifest import (
    CaseEntry,
    FidelityEntry,
    LatencyEntry,
    Manifest,
    VariantEntry,
)
from modelport.bundle.write import is_archive
from modelport.deployment.data import Data
from modelport.engines import ENGINES
from modelport.feeds import IMAGE_SUFFIXES, Sample
from modelport.machine import versions
from modelport.profile.latency import Latency
from modelport.report.data import ReportCase
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.transforms import Transform, dump
from modelport.tune.select import Candidate, Decision
from modelport.types import Artifact, Blob, Outputs
from modelport.variants import Compiled
from modelport.verify.compare import Fidelity

GOLDEN_CASES = 4
REPORT_CASES = 24
PICTURE_LIMIT_BYTES = 4_000_000


def hashed(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def share_files(
    compiled: Sequence[Compiled], decisions: Mapping[str, Decision], stage: Path
) -> dict[str, dict[str, str]]:
    """Where each kept variant's files lie in the bundle, by role; equal files are kept once.

    The files of rejected variants are removed.
    """
    first_of: dict[str, Path] = {}
    placed: dict[str, dict[str, str]] = {}
    for item in compiled:
        if item.artifact is None or decisions[item.plan.name].verdict == "rejected":
            continue
        roles = {}
        for role, blob in item.artifact.files.items():
            path = first_of.setdefault(hashed(blob.path), blob.path)
            roles[role] = path.relative_to(stage).as_posix()
        placed[item.plan.name] = roles
    kept = {stage / path for roles in placed.values() for path in roles.values()}
    for path in (stage / "artifacts").rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for folder in sorted((stage / "artifacts").rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return placed


def taken_along(
    compiled: Sequence[Compiled], decisions: Mapping[str, Decision], stage: Path
) -> list[Compiled]:
    """Copies the files of kept variants into the stage, from wherever they were compiled."""
    return [
        item
        if item.artifact is None or decisions[item.plan.name].verdict == "rejected"
        else replace(item, artifact=_copied(item.artifact, stage / "artifacts" / item.plan.name))
        for item in compiled
    ]


def _copied(artifact: Artifact, folder: Path) -> Artifact:
    folder.mkdir(parents=True)
    files = {
        role: Blob(Path(shutil.copyfile(blob.path, folder / blob.path.name)))
        for role, blob in artifact.files.items()
    }
    return replace(artifact, files=files)


def variant_entries(
    compiled: Sequence[Compiled],
    measured: Mapping[str, Candidate],
    decisions: Mapping[str, Decision],
    files: Mapping[str, dict[str, str]],
    stage: Path,
    threads: int,
) -> tuple[VariantEntry, ...]:
    """The chosen variant first, then the accepted from fast to slow, the converted, the rejected."""
    entries = []
    for item in compiled:
        name = item.plan.name
        roles = files.get(name, {})
        entries.append(
            VariantEntry(
                name=name,
                engine=item.plan.engine,
                precision=item.plan.target.precision,
                scheme=item.plan.scheme.to_json() if item.plan.scheme else None,
                files=roles,
                options=dict(item.artifact.options) if item.artifact and roles else {},
                versions=_versions(item),
                size_bytes=sum((stage / path).stat().st_size for path in roles.values()),
                memory_bytes=measured[name].memory_bytes,
                start_up_ms=measured[name].start_up_ms,
                fidelity=_fidelity_entry(measured[name].fidelity),
                latency=_latency_entry(measured[name].latency, _threads_of(item, threads)),
                verdict=decisions[name].verdict,
                reason=decisions[name].reason,
            )
        )
    return tuple(sorted(entries, key=_rank))


def _threads_of(item: Compiled, threads: int) -> int:
    return int(item.artifact.options.get("threads", threads)) if item.artifact else threads


def _rank(entry: VariantEntry) -> tuple[int, float]:
    order = ("chosen", "accepted", "converted", "rejected").index(entry.verdict)
    return order, entry.latency.median_ms if entry.latency else float("inf")


def _versions(item: Compiled) -> dict[str, str]:
    found = {item.plan.engine: ENGINES.get(item.plan.engine).version()}
    if item.plan.scheme:
        tool = item.plan.scheme.quantizer
        found[tool] = versions([tool]).get(tool, "")
    return found


def _fidelity_entry(fidelity: Fidelity | None) -> FidelityEntry | None:
    if fidelity is None:
        return None
    worst = fidelity.worst
    return FidelityEntry(
        samples=fidelity.samples,
        cosine_mean=worst.cosine_mean,
        cosine_min=worst.cosine_min,
        max_abs_error=worst.max_abs_error,
        sqnr_db=worst.sqnr_db,
        top1_agreement=worst.top1_agreement,
        loss=fidelity.loss,
        loss_kind=fidelity.loss_kind,
        passed=fidelity.passed,
        reasons=tuple(fidelity.reasons),
    )


def _latency_entry(latency: Latency | None, threads: int) -> LatencyEntry | None:
    return None if latency is None else LatencyEntry(**vars(latency), threads=threads)


def cases_of(data: Data, truth: Sequence[Outputs], stage: Path) -> tuple[CaseEntry, ...]:
    """Writes golden cases, spread over the data, with what the source gave for them."""
    entries = []
    for index in _golden(len(data.samples)):
        sample, name = data.samples[index], f"{index:04d}"
        folder = stage / "cases" / name
        folder.mkdir(parents=True)
        np.savez(folder / "feeds.npz", **cast(dict[str, Any], sample.feeds))
        np.savez(folder / "outputs.npz", **cast(dict[str, Any], truth[index]))
        picture = _copied_picture(sample, folder)
        entries.append(
            CaseEntry(
                name=sample.name,
                feeds=f"cases/{name}/feeds.npz",
                outputs=f"cases/{name}/outputs.npz",
                picture=f"cases/{name}/{picture}" if picture else None,
                seen_in_calibration=not data.held_out,
            )
        )
    return tuple(entries)


def _golden(count: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, min(GOLDEN_CASES, count))})


def _copied_picture(sample: Sample, folder: Path) -> str | None:
    file = sample.file
    if file is None or file.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    if file.stat().st_size > PICTURE_LIMIT_BYTES:
        return None
    name = f"picture{file.suffix.lower()}"
    shutil.copyfile(file, folder / name)
    return name


def transform_entries(transforms: Sequence[Transform], stage: Path) -> tuple[dict[str, Any], ...]:
    """The transforms as JSON values; the files that they name are copied into the bundle.

    Raises:
        DataError: where such a file cannot be read.
    """
    entries = []
    for transform, entry in zip(transforms, dump(transforms), strict=True):
        for field in transform.assets:
            data, name = transform.asset(field), PurePath(entry[field]).name
            folder = stage / "transforms" / hashlib.sha256(data).hexdigest()[:12]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            entry[field] = (folder / name).relative_to(stage).as_posix()
        entries.append(entry)
    return tuple(entries)


def report_cases(
    data: Data, truth: Sequence[Outputs], answers: Sequence[Outputs], manifest: Manifest
) -> list[ReportCase]:
    """Samples for the report: disagreements first among those shown."""
    task = TASKS.get(manifest.task.name)
    parameters = task.parameters(manifest.task.parameters)
    golden = set(_golden(len(data.samples)))
    shown = []
    for index, sample in enumerate(data.samples):
        context = Context(parameters, manifest.labels, sample.placement, sample.feeds)
        want, got = (task.decode(o[index], context) for o in (truth, answers))
        agrees = True
        if task.has_classes:
            first = next(iter(truth[index]))
            agrees = int(truth[index][first].argmax()) == int(answers[index][first].argmax())
        shown.append(
            (index, sample, task.describe(want), task.describe(got), agrees, index in golden)
        )
    shown.sort(key=lambda row: (row[4], not row[5], row[0]))
    return [
        ReportCase(sample.name, _thumbnail(sample), source, chosen, agrees, is_golden)
        for _, sample, source, chosen, agrees, is_golden in shown[:REPORT_CASES]
    ]


def _thumbnail(sample: Sample) -> bytes | None:
    if sample.file is None or sample.file.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    with Image.open(sample.file) as image:
        small = image.convert("RGB")
        small.thumbnail((240, 240))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def report_problem() -> str | None:
    """Why no report can be written, or None."""
    if find_spec("jinja2") is None or find_spec("matplotlib") is None:
        return 'there is no report.html, which needs: pip install "modelport[report]"'
    return None


REPORT = "report.html"


def show_report_beside(stage: Path, output: Path) -> None:
    """Copies the report of an archive beside it, where a browser can open it."""
    report = stage / REPORT
    if is_archive(output) and report.is_file():
        shutil.copyfile(report, output.with_name(f"{output.stem}.{REPORT}"))

"""Converted artifacts, kept under what they were made of: content, engine, version, processor.

An entry is a folder that is complete when it has its name. A cache that cannot be written, or an entry
that is not what was written, costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from modelport.engines.conversion import Conversion, Converted
from modelport.places import home

ENTRY = "entry.json"
MOST_BYTES = 10_000_000_000
"""Beyond it, what was used longest ago goes; `MODELPORT_CACHE_BYTES` says otherwise, 0 for no cache."""


def through_cache(
    job: Conversion, made_by: dict[str, str], build: Callable[[], Converted]
) -> Converted:
    """What an equal job gave before, copied into the directory of this one; else what it gives now.

    Args:
        made_by: names and versions of whatever takes part in the result.
    """
    most = _most_bytes()
    if most <= 0:
        return build()
    place = home() / "artifacts" / key_of(job, made_by)
    found = _taken(place, job.directory)
    if found is not None:
        return found
    made = build()
    with suppress(OSError):  # a full disk or a cache that is only read
        _kept(made, job.directory, place)
        _prune(place.parent, most)
    return made


def key_of(job: Conversion, made_by: dict[str, str]) -> str:
    told = {k: v for k, v in job.to_json().items() if k not in ("source", "directory")}
    digest = hashlib.sha256(json.dumps([told, made_by, features()], sort_keys=True).encode())
    for path in sorted(p for p in job.source.parent.rglob("*") if p.is_file()):
        digest.update(f"\0{path.relative_to(job.source.parent)}\0".encode())
        digest.update(_sha256(path).encode())
    return digest.hexdigest()


@cache
def features() -> str:
    """Family and instruction sets of the processor: what compiled code may depend on."""
    found = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = [line for line in lines if line.startswith(("flags", "Features"))]
        found = " ".join(sorted(flags[0].partition(":")[2].split())) if flags else ""
    return f"{platform.system()} {platform.machine()} {found}"


def _taken(place: Path, directory: Path) -> Converted | None:
    """The entry's files, copied; None where there is none, or a damaged one, which is removed."""
    if not (place / ENTRY).exists():
        return None
    try:
        entry = json.loads((place / ENTRY).read_text(encoding="utf-8"))
        for name, digest in entry["sha256"].items():
            if _sha256(Path(shutil.copyfile(place / name, directory / name))) != digest:
                raise ValueError(name)
    except (OSError, ValueError, KeyError):
        shutil.rmtree(place, ignore_errors=True)
        for path in directory.iterdir():
            path.unlink()
        return None
    with suppress(OSError):
        os.utime(place)
    return Converted(entry["files"], entry["options"])


def _kept(made: Converted, directory: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="partial-", dir=place.parent))
    try:
        digests = {}
        for name in sorted(set(made.files.values())):
            digests[name] = _sha256(Path(shutil.copyfile(directory / name, scratch / name)))
        entry: dict[str, Any] = {
            "files": dict(made.files), "options": dict(made.options), "sha256": digests,
        }  # fmt: skip
        (scratch / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
        with suppress(OSError):  # another process has made it meanwhile
            scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prune(folder: Path, most: int) -> None:
    entries = sorted(_entries(folder), key=lambda entry: entry.stat().st_mtime, reverse=True)
    used = 0
    for entry in entries:
        used += sum(path.stat().st_size for path in entry.iterdir())
        if used > most:
            shutil.rmtree(entry, ignore_errors=True)


def _entries(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if (path / ENTRY).is_file())


def own_folder(engine: str) -> Path | None:
    """Where an engine's own library may keep what it made for this processor; None where it may not."""
    if _most_bytes() <= 0:
        return None
    place = home() / "compiled" / f"{engine}-{hashlib.sha256(features().encode()).hexdigest()[:12]}"
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
    return place if place.is_dir() and os.access(place, os.W_OK) else None


def prune_own(engine: str) -> None:
    """Lets go of the engine's files that were used longest ago, beyond what the cache may take."""
    place = own_folder(engine)
    files = [] if place is None else [path for path in place.iterdir() if path.is_file()]
    used = 0
    for path in sorted(files, key=_last_used, reverse=True):
        used += path.stat().st_size
        if used > _most_bytes():
            path.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    told = path.stat()
    return max(told.st_mtime, told.st_atime)


def _most_bytes() -> int:
    try:
        return int(os.environ.get("MODELPORT_CACHE_BYTES", MOST_BYTES))
    except ValueError:
        return MOST_BYTES


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()

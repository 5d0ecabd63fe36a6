"""`pipeline.json`: several bundles in one folder or archive, and how they work together.

    pipeline.json        the stages, in order
    models/<stage>/...   a bundle, as its own FORMAT.md says; stages of one model share one

Its rules are those of a bundle: paths are relative and stay inside, unknown fields are errors, entries of
an archive are stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelport.bundle.manifest import SafePath
from modelport.bundle.pipelines import PIPELINE_FORMAT, PIPELINE_NAME
from modelport.bundle.read import small_file
from modelport.errors import BundleFormatError, UsageError
from modelport.runtime.pipeline.pyramid import Pyramid
from modelport.runtime.pipeline.stages import Crops, check_links

FORMAT_VERSION: Final = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageEntry(_Strict):
    """Attributes:
    bundle: path of the folder with the bundle.
    takes: what of an earlier stage it looks at; null for the whole picture.
    variant: of the bundle; null for the one that a predictor takes.
    pyramid: scales at which it looks; null for the picture as it is.
    keep: whether its result is given.
    """

    name: str
    bundle: SafePath
    takes: Crops | None = None
    variant: str | None = None
    pyramid: Pyramid | None = None
    keep: bool = True


class PipelineManifest(_Strict):
    format: Literal["modelport-pipeline"] = "modelport-pipeline"
    format_version: Literal[1] = FORMAT_VERSION
    name: str = Field(min_length=1)
    stages: tuple[StageEntry, ...]


def to_json(manifest: PipelineManifest) -> bytes:
    content = manifest.model_dump(mode="json", exclude_defaults=True)
    head = {"format": manifest.format, "format_version": manifest.format_version}
    return json.dumps({**head, **content}, indent=1, ensure_ascii=False).encode()


def read(path: Path) -> PipelineManifest:
    """Reads and checks the manifest of the folder or archive at that path.

    Raises:
        BundleError: where there is nothing at that path.
        BundleFormatError: where it has no such manifest, or a wrong one; naming the field.
    """
    where = f"{path}: {PIPELINE_NAME}"
    data = small_file(path, PIPELINE_NAME)
    if data is None:
        raise BundleFormatError(
            f"{path} has no {PIPELINE_NAME}", expected="a pipeline written by Pipeline.save"
        )
    content = _parsed(data, where)
    try:
        manifest = PipelineManifest.model_validate(content)
        check_links(manifest.stages)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleFormatError(f"{where} is wrong at {field!r}: {first['msg']}") from error
    except UsageError as error:
        raise BundleFormatError(
            f"{where} is wrong: {error.seen}", expected=error.expected
        ) from error
    return manifest


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(f"{where} is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != PIPELINE_FORMAT:
        raise BundleFormatError(
            f"{where} is JSON, but not the manifest of a modelport pipeline",
            expected=f'an object whose "format" is "{PIPELINE_FORMAT}"',
        )
    if content.get("format_version") != FORMAT_VERSION:
        raise BundleFormatError(
            f"{where} has format version {content.get('format_version')!r}",
            expected=f"version {FORMAT_VERSION}",
            hint="Open it with the modelport that wrote it, or install a newer modelport",
        )
    return content

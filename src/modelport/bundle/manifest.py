"""The manifest `modelport.json`, as FORMAT.md describes it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from modelport.errors import BundleFormatError, ChecksumError
from modelport.types import Dim, Signature, TensorSpec

FORMAT_VERSION: Final = 1
MANIFEST_NAME = "modelport.json"
MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024


def _safe_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path.startswith("/")
        or "\\" in path
        or ":" in path
        or "\0" in path
        or any(part in ("..", ".") for part in path.split("/"))
    ):
        raise ValueError(f"the path {path!r} leaves the bundle")
    return path


SafePath = Annotated[str, AfterValidator(_safe_path)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DimEntry(_Strict):
    minimum: int = Field(ge=0)
    maximum: int | None = None
    name: str | None = None
    step: int = Field(default=1, ge=1)


class TensorEntry(_Strict):
    name: str
    dtype: str
    shape: tuple[int | DimEntry, ...]


class SignatureEntry(_Strict):
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]

    @classmethod
    def of(cls, signature: Signature) -> SignatureEntry:
        return cls(
            inputs=tuple(_tensor_entry(spec) for spec in signature.inputs),
            outputs=tuple(_tensor_entry(spec) for spec in signature.outputs),
        )

    def to_signature(self) -> Signature:
        return Signature(
            tuple(_tensor_spec(entry) for entry in self.inputs),
            tuple(_tensor_spec(entry) for entry in self.outputs),
        )


def _tensor_entry(spec: TensorSpec) -> TensorEntry:
    sizes = tuple(size if isinstance(size, int) else DimEntry(**vars(size)) for size in spec.shape)
    return TensorEntry(name=spec.name, dtype=spec.dtype, shape=sizes)


def _tensor_spec(entry: TensorEntry) -> TensorSpec:
    sizes = tuple(
        size if isinstance(size, int) else Dim(size.minimum, size.maximum, size.name, size.step)
        for size in entry.shape
    )
    return TensorSpec(entry.name, entry.dtype, sizes)


class TaskEntry(_Strict):
    name: str
    parameters: dict[str, Any] = {}


class FileEntry(_Strict):
    path: SafePath
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class CaseEntry(_Strict):
    """A golden feed with the outputs of the source model."""

    name: str
    feeds: SafePath
    outputs: SafePath
    picture: SafePath | None = None
    seen_in_calibration: bool = False


class FidelityEntry(_Strict):
    """Closeness to the source over the user's data; see `modelport.verify.metrics`."""

    samples: int
    cosine_mean: float | None
    cosine_min: float | None
    max_abs_error: float | None
    sqnr_db: float | None
    top1_agreement: float | None = None
    loss: float | None
    loss_kind: str
    passed: bool
    reasons: tuple[str, ...] = ()


class LatencyEntry(_Strict):
    """Time of one engine call, from interleaved rounds."""

    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    threads: int


class VariantEntry(_Strict):
    name: str
    engine: str
    precision: str
    scheme: dict[str, Any] | None = None
    files: dict[str, SafePath] = {}
    options: dict[str, Any] = {}
    versions: dict[str, str] = {}
    size_bytes: int = 0
    memory_bytes: int | None = None
    start_up_ms: float | None = None
    fidelity: FidelityEntry | None = None
    latency: LatencyEntry | None = None
    verdict: Literal["chosen", "accepted", "converted", "rejected"]
    reason: str = ""


class RefusalEntry(_Strict):
    """A place that a pass left alone, and why."""

    where: str
    reason: str


class PassEntry(_Strict):
    """What a pass did; `rejected` says why it was rolled back, `engine` for which one alone it ran."""

    name: str
    summary: str
    changed: bool = False
    removed_nodes: int = 0
    rejected: str | None = None
    refusals: tuple[RefusalEntry, ...] = ()
    engine: str | None = None


class RewriteEntry(_Strict):
    """A rewrite that took part in the export, and at which place."""

    rewrite: str
    module_path: str | None = None
    where: str | None = None
    count: int = 1


class Provenance(_Strict):
    """Everything needed to understand, and to repeat, how the bundle was made."""

    source: str
    weights: str | None = None
    weights_sha256: str | None = None
    opset: int | None = None
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    budget: float | None = None
    calibration_samples: int = 0
    verification_samples: int = 0
    verification_data: str = ""
    held_out: bool = False
    operators_before: dict[str, int] = {}
    operators_after: dict[str, int] = {}
    cost: dict[str, int] = {}
    exporter: str = ""
    exporter_reason: str = ""
    export_attempts: tuple[str, ...] = ()
    rewrites: tuple[RewriteEntry, ...] = ()
    passes: tuple[PassEntry, ...] = ()
    notes: tuple[str, ...] = ()


class Manifest(_Strict):
    format: Literal["modelport"] = "modelport"
    format_version: Literal[1] = FORMAT_VERSION
    name: str
    created: str
    licence: str | None = None
    signature: SignatureEntry
    transforms: tuple[dict[str, Any], ...] = ()
    task: TaskEntry
    labels: tuple[str, ...] | None = None
    default: str
    variants: tuple[VariantEntry, ...]
    cases: tuple[CaseEntry, ...] = ()
    provenance: Provenance
    files: tuple[FileEntry, ...] = ()
    checksum: str = ""

    def variant(self, name: str | None = None) -> VariantEntry:
        """The variant of that name, or the default one."""
        wanted = name or self.default
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        raise BundleFormatError(
            f"The bundle has no variant {wanted!r}",
            expected=f"one of {', '.join(variant.name for variant in self.variants)}",
        )

    def file(self, path: str) -> FileEntry:
        for entry in self.files:
            if entry.path == path:
                return entry
        raise BundleFormatError(
            f"The manifest refers to {path!r} but does not list it among its files",
            hint="The bundle was altered: build it again",
        )


def to_json(manifest: Manifest) -> bytes:
    """The manifest with its checksum, indented for people."""
    content = manifest.model_dump(mode="json", exclude={"checksum"})
    return json.dumps(
        {**content, "checksum": _checksum(content)}, indent=1, ensure_ascii=False, allow_nan=False
    ).encode()


def from_json(data: bytes, where: str) -> Manifest:
    """Reads and checks a manifest.

    Raises:
        BundleFormatError: not JSON, not a manifest, or of a version that this modelport cannot read.
        ChecksumError: altered after it was written.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(
            f"{where} is not JSON ({error})",
            expected="a manifest written by modelport",
            hint="The file was cut short or altered: copy or build the bundle again",
        ) from error
    if not isinstance(content, dict) or content.get("format") != "modelport":
        raise BundleFormatError(f"{where} is JSON, but not the manifest of a modelport bundle")
    if content.get("format_version") != FORMAT_VERSION:
        raise BundleFormatError(
            f"{where} has format version {content.get('format_version')!r}",
            expected=f"version {FORMAT_VERSION}",
            hint="Open it with the modelport that wrote it, or install a newer modelport",
        )
    stated = content.pop("checksum", "")
    try:
        actual = _checksum(content)
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(f"{where} holds what no manifest can ({error})") from error
    if stated != actual:
        raise ChecksumError(
            f"{where} does not match its own checksum",
            hint="It was edited or damaged after it was written: build the bundle again",
        )
    try:
        manifest = Manifest.model_validate({**content, "checksum": stated})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleFormatError(f"{where} is wrong at {field!r}: {first['msg']}") from error
    twice = [path for path, n in Counter(entry.path for entry in manifest.files).items() if n > 1]
    if twice:
        raise BundleFormatError(f"{where} lists the file {twice[0]!r} twice")
    return manifest


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()

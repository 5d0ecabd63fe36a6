"""What a bundle or an ONNX file is: signature, size, operators, cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle
from modelport.types import Signature


@dataclass(frozen=True)
class Overview:
    """Attributes:
    kind: `bundle` or `onnx`.
    size_bytes: of all files.
    operators: nodes by operator, in the optimised graph for a bundle.
    cost: parameters, weights_bytes, multiply_adds, unknown.
    variants: of a bundle, the chosen one first.
    """

    kind: str
    name: str
    path: str
    size_bytes: int
    signature: Signature
    operators: dict[str, int]
    cost: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)
    variants: tuple[VariantEntry, ...] = ()

    def to_json(self) -> dict[str, Any]:
        content = {
            key: value for key, value in vars(self).items() if key not in ("variants", "signature")
        }
        return {
            **content,
            "signature": asdict(self.signature),
            "variants": [entry.model_dump(mode="json") for entry in self.variants],
        }


def inspect(path: str | Path) -> Overview:
    """Looks at a bundle (folder or archive) or an ONNX file, without running anything.

    Raises:
        BundleError: where the path is no readable bundle.
        SourceError: where it ends in `.onnx` and is no readable model.
    """
    path = Path(path)
    return _inspect_onnx(path) if path.suffix == ".onnx" else _inspect_bundle(path)


def _inspect_bundle(path: Path) -> Overview:
    bundle = Bundle(path)
    manifest = bundle.manifest
    made = manifest.provenance
    return Overview(
        kind="bundle",
        name=manifest.name,
        path=str(path),
        size_bytes=sum(entry.size_bytes for entry in manifest.files),
        signature=bundle.signature,
        operators=made.operators_after,
        cost=made.cost,
        facts={
            "created": manifest.created,
            "licence": manifest.licence,
            "task": manifest.task.name,
            "labels": len(manifest.labels) if manifest.labels else None,
            "transforms": [entry["kind"] for entry in manifest.transforms],
            "default": manifest.default,
            "budget": made.budget,
            "golden cases": len(manifest.cases),
            "source": made.source,
        },
        variants=manifest.variants,
    )


def _inspect_onnx(path: Path) -> Overview:
    from modelport.graph import io
    from modelport.graph.query import operator_counts, signature_of
    from modelport.passes import PASSES
    from modelport.profile.cost import cost_of

    model = io.load(path)
    PASSES.get("infer_shapes")(model)
    return Overview(
        kind="onnx",
        name=path.stem,
        path=str(path),
        size_bytes=path.stat().st_size,
        signature=signature_of(model),
        operators=operator_counts(model),
        cost=vars(cost_of(model)),
        facts={
            "opset": model.opset_imports.get(""),
            "ir_version": model.ir_version,
            "producer": " ".join(filter(None, (model.producer_name, model.producer_version))),
        },
    )

"""From a bundle to one portable ONNX file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle
from modelport.endtoend.build import IMAGE, LEAST_OPSET, whole_graph
from modelport.endtoend.prove import Proof, prove, trial_pictures
from modelport.errors import UsageError, VerificationError
from modelport.feeds import IMAGE_SUFFIXES, sample_files
from modelport.graph import io
from modelport.graph.query import signature_of
from modelport.optimization import run_unverified
from modelport.passes.pipelines import portable
from modelport.runtime import transforms
from modelport.runtime.opening import opened
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks import TASKS
from modelport.types import Signature

_ENGINE = "onnxruntime"
"""Its variants are ONNX files as any binding of ONNX Runtime reads them."""


@dataclass(frozen=True)
class Whole:
    """One portable file.

    Attributes:
        path: the ONNX file.
        variant: which variant of the bundle is inside.
        signature: its input, `image`, and its outputs.
        proof: how it was compared with the predictor; None where the check was left out.
    """

    path: Path
    variant: str
    signature: Signature
    proof: Proof | None

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "variant": self.variant,
            "inputs": [str(spec) for spec in self.signature.inputs],
            "outputs": [str(spec) for spec in self.signature.outputs],
            "pictures": 0 if self.proof is None else self.proof.pictures,
        }


def export_end_to_end(
    bundle: Bundle | str | Path,
    output: str | Path,
    *,
    variant: str | None = None,
    pictures: str | Path | Sequence[Path] | None = None,
    check: bool = True,
) -> Whole:
    """Writes one ONNX file that takes the pixels of a picture and gives final results.

    Its input is `image`: uint8, height x width x 3, in RGB order, of any size, upright. The transforms
    and the decode step of the task are part of the graph. Every binding of ONNX Runtime can call it.

    Args:
        output: the `.onnx` file to write.
        variant: one of ONNX Runtime's; by default the first of the bundle's that is.
        pictures: a folder or files to compare on, beside the bundle's own and generated ones.
        check: whether to compare it with the predictor.

    Raises:
        UsageError: where a transform, the task or the model has no such form; the message names it.
        VerificationError: where the file does not answer as the predictor does; nothing is written then.
    """
    taken = bundle if isinstance(bundle, Bundle) else opened(bundle)
    output = Path(output)
    if output.suffix != ".onnx":
        raise UsageError(f"The output is {output.name}", expected="a file ending in .onnx")
    entry = _variant(taken, variant)
    manifest = taken.manifest
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        model = _model(taken, entry, Path(folder))
        whole = whole_graph(
            model, transforms.parse(manifest.transforms), manifest.task.name,
            TASKS.get(manifest.task.name).parameters(manifest.task.parameters),
            manifest.labels, name=manifest.name,
        )  # fmt: skip
        if entry.scheme is None:  # passes would take pairs of quantization apart
            whole = run_unverified(whole, portable(upgrade=False)).model
        proof = None
        if check:
            with Predictor(taken, variant=entry.name) as predictor:
                proof = prove(whole, predictor, trial_pictures(taken, _files(pictures)))
            if proof.problem is not None:
                raise VerificationError(
                    f"The one file does not answer as the predictor does: {proof.problem}",
                    hint="Report the bundle, or write the file all the same without the check",
                )
        io.save(whole, output)
        signature = signature_of(whole)
    return Whole(output, entry.name, signature, proof)


def _variant(bundle: Bundle, name: str | None) -> VariantEntry:
    known = [entry for entry in bundle.variants if entry.engine == _ENGINE]
    if name is not None:
        chosen = bundle.manifest.variant(name)
        if chosen not in known:
            raise UsageError(
                f"The variant {name} is no ONNX file in the bundle",
                expected=f"one of {', '.join(e.name for e in known) or 'ONNX Runtime, and it has none'}",
            )
        return chosen
    if not known:
        raise UsageError(
            f"{bundle.path} has no variant of ONNX Runtime, whose file could be taken",
            hint="Deploy it with --engine onnxruntime too",
        )
    return known[0]


def _model(bundle: Bundle, variant: VariantEntry, folder: Path) -> ir.Model:
    """The variant's graph, out of the bundle."""
    for role in ("model", "weights"):
        if role in variant.files:
            path = variant.files[role]
            (folder / Path(path).name).write_bytes(bundle.blob(path).view())
    model = io.load(folder / Path(variant.files["model"]).name)
    if (model.opset_imports.get("") or 0) < LEAST_OPSET:  # bundles of other toolkits
        return run_unverified(model, portable()).model
    return model


def _files(pictures: str | Path | Sequence[Path] | None) -> list[Path]:
    if pictures is None:
        return []
    given = [pictures] if isinstance(pictures, (str, Path)) else list(pictures)
    found = [file for path in given for file in sample_files(Path(path))]
    return [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES]


__all__ = ["IMAGE", "Whole", "export_end_to_end"]

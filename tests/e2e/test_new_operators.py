"""New operators through the whole chain: exported, proved, optimised, in a bundle, loaded, run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.bundle.read import Bundle
from modelport.errors import ExportError
from modelport.frontends.options import EXPORTERS, TORCH_EXPORT, TORCHSCRIPT
from modelport.frontends.reference import call_reference
from modelport.graph.provenance import module_of
from support import ROOT

EXAMPLES = ROOT / "examples" / "new_operators"
FAST: dict[str, Any] = {"precisions": ["fp32"], "report": False, "threads": 1}


def example(name: str) -> modelport.Source:
    source = call_reference(f"{EXAMPLES / name}.py:build")
    assert isinstance(source, modelport.Source)
    return source


def by(exporter: str) -> modelport.ExportOptions:
    return modelport.ExportOptions(exporter=exporter)


def tensors(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_equals_eager(path: Path, module: nn.Module, **settings: Any) -> None:
    """The loaded bundle gives what the module gives, on two inputs of one size and one of another."""
    with modelport.load(path, threads=1, **settings) as predictor:
        (spec,) = predictor.bundle.signature.inputs
        for size, seed in ((1, 1), (1, 2), (3, 3)):
            x = tensors(size, 8, seed=seed)
            with torch.inference_mode():
                want = module.eval()(x).numpy()
            (got,) = predictor.session.run({spec.name: x.numpy()}).values()
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def assert_every_variant_equals_eager(bundle: Bundle, module: nn.Module, **settings: Any) -> None:
    assert bundle.variants
    for variant in bundle.variants:
        assert_equals_eager(bundle.path, module, variant=variant.name, **settings)


def operators(exported: Any) -> list[str]:
    return [node.op_type for node in exported.model.graph]


# --- composed of what exists, autograd functions, translations ----------------------------------


@pytest.mark.parametrize("name", ["composed", "autograd", "translated"])
def test_written_with_standard_operators(name: str, tmp_path: Path) -> None:
    source = example(name)
    bundle = modelport.deploy(source, output=tmp_path / "bundle", **FAST)
    assert {variant.engine for variant in bundle.variants} == {"onnxruntime", "openvino"}
    (fired,) = bundle.manifest.provenance.rewrites
    assert fired.rewrite == source.rewrites[0].name
    assert fired.where is not None
    assert fired.where.startswith(f"{name}.py:")
    assert_every_variant_equals_eager(bundle, source.model)


@pytest.mark.parametrize("name", ["autograd", "translated"])
def test_needs_its_rewrite(name: str) -> None:
    source = example(name)
    with pytest.raises(ExportError):
        modelport.export(source.model, source.inputs)


def test_the_hint_of_an_unknown_operator_leads_here() -> None:
    source = example("translated")
    with pytest.raises(ExportError, match="see the guide on new operators"):
        modelport.export(source.model, source.inputs, options=by(TORCH_EXPORT))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_both_exporters_look_into_an_autograd_function(exporter: str) -> None:
    exported = modelport.export(example("autograd"), options=by(exporter))
    assert exported.exporter == exporter
    assert "Abs" in operators(exported)
    assert "Round" in operators(exported)

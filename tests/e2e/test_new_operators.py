"""New operators through the whole chain: exported, proved, optimised, in a bundle, loaded, run."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxscript
import pytest
import torch
from onnxscript import FLOAT
from onnxscript import opset20 as op
from torch import Tensor, nn

import modelport
from modelport.bundle.read import Bundle
from modelport.errors import BundleError, ExportError, UsageError, VerificationError
from modelport.frontends.options import EXPORTERS, TORCH_EXPORT
from modelport.frontends.reference import call_reference
from modelport.graph import io
from modelport.graph.provenance import module_of
from modelport.passes import PASSES
from support import ROOT, Ran

EXAMPLES = ROOT / "examples" / "new_operators"
FAST: dict[str, Any] = {"precisions": ["fp32"], "report": False, "threads": 1}


@cache
def example(name: str) -> modelport.Source:
    """Once for all tests: torch forgets an operator when the file that defined it comes again."""
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


def test_the_symbolic_of_an_autograd_function_counts_in_torchscript_alone() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x + x

        @staticmethod
        def symbolic(g: Any, x: Any) -> Any:
            return g.op("Sum", x, x)

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Doubled.apply(x)

    found = {
        exporter: operators(modelport.export(Net(), "x=1..4x8", options=by(exporter)))
        for exporter in EXPORTERS
    }
    assert found == {"torch.export": ["Add"], "torchscript": ["Sum"]}


# --- function bodies ----------------------------------------------------------------------------


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_function_stays_one_node_and_every_engine_runs_it(exporter: str, tmp_path: Path) -> None:
    source = example("portable")
    bundle = modelport.deploy(source, output=tmp_path / "bundle", export=by(exporter), **FAST)
    assert {variant.engine for variant in bundle.variants} == {"onnxruntime", "openvino"}
    graph = io.load(file_of(bundle, "onnxruntime-fp32", "model"))
    calls = [node for node in graph.graph if node.op_type == "Wave"]
    assert [node.attributes.get_float("rate", 0) for node in calls] == [1.5, 0.5]
    assert list(graph.functions) == [("example.portable", "Wave", "")]
    (fired,) = bundle.manifest.provenance.rewrites
    assert (fired.rewrite, fired.module_path, fired.count) == ("Wave", "", 2)
    assert_every_variant_equals_eager(bundle, source.model)


def test_a_function_keeps_its_module_when_it_is_taken_apart() -> None:
    exported = modelport.export(example("kernel").model, KERNEL_INPUTS, rewrites=[body_of_wave()])
    (call,) = [node for node in exported.model.graph if node.op_type == "Wave"]
    assert module_of(call) == "act"
    assert PASSES.get("inline_functions")(exported.model).modified
    sines = [node for node in exported.model.graph if node.op_type == "Sin"]
    assert [module_of(node) for node in sines] == ["act"]


def test_a_function_goes_through_quantization(tmp_path: Path) -> None:
    source = example("portable")
    for seed in range(8):
        np.save(tmp_path / f"{seed}.npy", tensors(1, 8, seed=seed).numpy())
    bundle = modelport.deploy(
        source, output=tmp_path / "bundle", calibration=tmp_path, budget="100%",
        precisions=["fp32", "int8"], report=False, threads=1,
    )  # fmt: skip
    for name in ("onnxruntime-int8", "openvino-int8"):  # random weights: it need only run
        assert bundle.manifest.variant(name).fidelity is not None


def test_an_input_of_a_function_must_be_a_tensor() -> None:
    @script()
    def Wave(x: FLOAT[...], rate: FLOAT[...]) -> FLOAT[...]:
        return op.Add(op.Sin(op.Mul(x, rate)), x)

    rewrite = modelport.rewrites.operator("example_kernel::wave", way="function")(Wave)
    with pytest.raises(ExportError, match=r"rate: float say, to make it an attribute"):
        modelport.export(example("kernel").model, KERNEL_INPUTS, rewrites=[rewrite])


def test_a_plain_function_is_no_function_of_onnx() -> None:
    with pytest.raises(UsageError, match=r"Expected a function under onnxscript\.script"):
        modelport.rewrites.operator("example_kernel::wave", way="function")(lambda x: x)


def test_a_function_of_another_opset_is_adopted(tmp_path: Path) -> None:
    source = example("portable")
    exported = modelport.export(source, opset=18)
    ((_, function),) = exported.model.functions.items()
    assert function.opset_imports[""] == 18


# --- kernels ------------------------------------------------------------------------------------

KERNEL_INPUTS = "x=1..4x8"


def script() -> Any:
    return onnxscript.script(onnxscript.values.Opset("example.kernel", 1), default_opset=op)


def body_of_wave() -> modelport.rewrites.OperatorRewrite:
    """What the kernels of the example compute."""

    @script()
    def Wave(x: FLOAT[...], rate: float) -> FLOAT[...]:
        return op.Add(op.Sin(op.Mul(x, op.Constant(value_float=rate))), x)

    return modelport.rewrites.operator("example_kernel::wave", way="function")(Wave)


def compiled(folder: Path, source: Path, *options: str) -> Path:
    """A shared library of that file; skips where there is no compiler."""
    compiler = "g++" if source.suffix == ".cpp" else "gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed, so the kernel {source.name} cannot be built")
    library = folder / f"lib{source.stem}.so"
    command = [compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(library), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return library


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernel")
    return compiled(folder, EXAMPLES / "kernels" / "wave_onnxruntime.c", "-lm", "-Wall", "-Wextra")


@pytest.fixture(scope="module")
def kernel_bundle(kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "kernel"
    return modelport.deploy(example("kernel"), output=path, operators=[kernel], **FAST)


def test_a_check_knows_the_libraries_that_an_export_will_have(kernel: Path) -> None:
    without = modelport.check(example("kernel"), engines=["onnxruntime", "openvino"])
    assert {found.seen.partition(":")[0] for found in without.findings} == {
        "onnxruntime lacks the operator Wave",
        "openvino lacks the operator Wave",
    }
    one = modelport.check(
        example("kernel"), engines=["onnxruntime", "openvino"], operators=[kernel]
    )
    (found,) = one.findings
    assert found.seen.startswith("openvino lacks the operator Wave")


def file_of(bundle: Bundle, variant: str, role: str) -> Path:
    return bundle.path / bundle.manifest.variant(variant).files[role]


def test_a_kernel_for_onnxruntime(kernel_bundle: Bundle, kernel: Path) -> None:
    (variant,) = kernel_bundle.variants
    assert variant.engine == "onnxruntime"
    library = file_of(kernel_bundle, variant.name, "operators_0")
    assert library.name == "operators_0.so"
    assert library.read_bytes() == kernel.read_bytes()
    assert_equals_eager(kernel_bundle.path, example("kernel").model, trust=True)
    assert modelport.verify(kernel_bundle.path, trust=True).passed


def test_an_engine_without_a_kernel_says_so(kernel_bundle: Bundle) -> None:
    assert kernel_bundle.manifest.variant("openvino-fp32").reason == (
        "openvino has no kernel for example.kernel::Wave (in act) and none was given. Say what it "
        'means with way="function", or hand over a library: operators={"openvino": [...]}'
    )


def test_no_path_of_the_machine_is_left_in_the_bundle(kernel_bundle: Bundle, kernel: Path) -> None:
    place = str(kernel.parent).encode()
    for entry in kernel_bundle.manifest.files:
        if not entry.path.endswith(".so"):
            assert place not in (kernel_bundle.path / entry.path).read_bytes()
    assert place not in (kernel_bundle.path / "modelport.json").read_bytes()


def test_without_a_kernel_the_proof_names_the_operator() -> None:
    with pytest.raises(VerificationError) as caught:
        modelport.export(example("kernel"), options=by(TORCH_EXPORT))
    assert str(caught.value) == (
        "The exported graph cannot be proved, because onnxruntime has no kernel for "
        'example.kernel::Wave (in act) and none was given. Say what it means with way="function", or '
        'hand over a library: operators={"onnxruntime": [...]}.'
    )


def test_a_kernel_in_an_archive(kernel: Path, tmp_path: Path) -> None:
    source, path = example("kernel"), tmp_path / "kernel.zip"
    modelport.deploy(source, output=path, operators={"onnxruntime": kernel}, **FAST)
    before = set(Path(tempfile.gettempdir()).glob("modelport-*"))
    assert_equals_eager(path, source.model, trust=True)
    assert set(Path(tempfile.gettempdir()).glob("modelport-*")) <= before


def test_a_kernel_where_the_operator_has_a_body_too(kernel: Path, tmp_path: Path) -> None:
    source = example("kernel")
    bundle = modelport.deploy(
        source.model, KERNEL_INPUTS, output=tmp_path / "bundle",
        rewrites=[body_of_wave()], operators=[kernel], **FAST,
    )  # fmt: skip
    assert {variant.engine for variant in bundle.variants} == {"onnxruntime", "openvino"}
    assert_every_variant_equals_eager(bundle, source.model, trust=True)
    assert_equals_eager(bundle.path, source.model, variant="openvino-fp32")


def test_a_kernel_comes_before_the_body(kernel: Path) -> None:
    @script()
    def Wave(x: FLOAT[...], rate: float) -> FLOAT[...]:
        return op.Cos(op.Mul(x, op.Constant(value_float=rate)))

    wrong = modelport.rewrites.operator("example_kernel::wave", way="function")(Wave)
    model, options = example("kernel").model, by(TORCH_EXPORT)
    with pytest.raises(VerificationError, match="differs from the source"):
        modelport.export(model, KERNEL_INPUTS, rewrites=[wrong], options=options)
    modelport.export(model, KERNEL_INPUTS, rewrites=[wrong], operators=[kernel], options=options)


def test_an_exported_file_is_a_source_with_the_same_library(kernel: Path, tmp_path: Path) -> None:
    source, file = example("kernel"), tmp_path / "kernel.onnx"
    modelport.export(source, output=file, operators=[kernel])
    assert str(kernel.parent).encode() not in file.read_bytes()
    bundle = modelport.deploy(file, output=tmp_path / "bundle", operators=[kernel], **FAST)
    assert_equals_eager(bundle.path, source.model, trust=True)


def test_operators_of_a_package(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_extensions", reason="onnxruntime-extensions is not installed")

    @torch.library.custom_op("example_package::inverse", mutates_args=())
    def inverse(x: Tensor) -> Tensor:
        return torch.linalg.inv(x)

    inverse.register_fake(torch.empty_like)

    @modelport.rewrites.operator("example_package::inverse")
    def as_node(x: Tensor) -> Tensor:
        """Writes Inverse of onnxruntime-extensions."""
        return torch.onnx.ops.symbolic(
            "ai.onnx.contrib::Inverse", [x], dtype=x.dtype, shape=x.shape, version=1
        )

    class Inverse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return inverse(x @ x.mT + torch.eye(3)) * 2

    module = Inverse()
    bundle = modelport.deploy(
        module, "x=3x3", output=tmp_path / "bundle", rewrites=[as_node],
        operators=["onnxruntime_extensions"], **FAST,
    )  # fmt: skip
    graph = io.load(file_of(bundle, "onnxruntime-fp32", "model"))
    assert "Inverse" in {node.op_type for node in graph.graph}
    with modelport.load(bundle.path, threads=1) as predictor:
        for seed in (1, 2):
            x = tensors(3, 3, seed=seed)
            (got,) = predictor.session.run({"x": x.numpy()}).values()
            np.testing.assert_allclose(got, module(x).numpy(), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    home = Path(openvino.__file__).parent
    include = home / "include"
    if not (include / "openvino" / "core" / "op_extension.hpp").is_file():
        pytest.skip("this openvino has no headers, so the extension cannot be built")
    folder = tmp_path_factory.mktemp("extension")
    source = EXAMPLES / "kernels" / "wave_openvino.cpp"
    names = ("libopenvino.so.*", "libopenvino_onnx_frontend.so.*")
    libraries = [str(path) for name in names for path in (home / "libs").glob(name)]
    return compiled(folder, source, "-std=c++17", f"-I{include}", *libraries)


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_an_extension_for_openvino(
    name: str, extension: Path, kernel: Path, tmp_path: Path
) -> None:
    source = example("kernel")
    libraries = {"onnxruntime": [kernel], "openvino": [extension]}
    bundle = modelport.deploy(source, output=tmp_path / name, operators=libraries, **FAST)
    assert {variant.engine for variant in bundle.variants} == {"onnxruntime", "openvino"}
    assert_every_variant_equals_eager(bundle, source.model, trust=True)
    with pytest.raises(BundleError, match=r"brings native code.*operators_0\.so"):
        modelport.load(bundle.path, variant="openvino-fp32")


def test_from_the_command_line(kernel: Path, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    bundle = tmp_path / "bundle"
    made = cli(
        "deploy", f"{EXAMPLES / 'kernel'}.py:build", "--operators", kernel, "-o", bundle,
        "--engines", "onnxruntime", "--precisions", "fp32", "--no-report",
    )  # fmt: skip
    assert made.status == 0, made.stderr
    np.save(tmp_path / "x.npy", tensors(1, 8, seed=1).numpy())
    refused = cli("run", bundle, tmp_path / "x.npy")
    assert refused.status == 2
    assert "brings native code, which runs when it is loaded" in refused.stderr
    assert cli("run", bundle, tmp_path / "x.npy", "--trust").status == 0
    assert cli("verify", bundle).status == 2
    assert cli("verify", bundle, "--trust").status == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere/libwave.so"], "There is no library nowhere/libwave.so. Build it, and check"),
        (
            ["numpy"],
            "'numpy' was given as a library of operators for onnxruntime. Expected the path",
        ),
        (["no_such_package"], "Install it with: pip install no_such_package"),
        (
            {"openvino": ["onnxruntime_extensions"]},
            "for openvino. Expected the path of a shared lib",
        ),
        ({"tensorflow": []}, "There is no engine named 'tensorflow'"),
    ],
)
def test_libraries_that_cannot_be_meant(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        modelport.export(example("composed"), operators=given)

"""Each built-in rewrite with a model that needs it.

Without the rewrite the export fails, an engine refuses the graph, or the numbers are wrong: should that
end one day, the test fails and the rewrite can go. With it the graph gives what the module gives, on two
inputs and on another size, in ONNX Runtime and in OpenVINO.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.onnx._internal.exporter._registration import ONNXRegistry

from documents import prose
from modelport.frontends import open_source, rewrites
from modelport.frontends.rewrites import REWRITES
from support import ROOT

openvino = pytest.importorskip("openvino")

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch about itself


class Call(nn.Module):
    """A module of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


@dataclass(frozen=True)
class Need:
    """A model that needs a rewrite.

    Attributes:
        sizes: of the traced input, then another; axes in which they differ are free.
        fails: where it fails without the rewrite: `export`, `onnxruntime` or `openvino`.
        make: gives an input of a size; numbers around zero by default.
        engine: the one that the export is for, where it is for one alone.
        engines: those that must agree with it.
    """

    model: Callable[[], nn.Module]
    sizes: tuple[tuple[int, ...], tuple[int, ...]]
    fails: str = "export"
    make: Callable[[Sequence[int]], torch.Tensor] = torch.randn
    engine: str | None = None
    exporter: str = "torch.export"
    engines: tuple[str, ...] = ("onnxruntime", "openvino")


def of(function: Callable[..., Any]) -> Callable[[], nn.Module]:
    return lambda: Call(function)


def whole(below: int) -> Callable[[Sequence[int]], torch.Tensor]:
    return lambda size: torch.randint(0, below, tuple(size))


class Deformable(nn.Module):
    """What torchvision.ops.DeformConv2d does with its operator."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.weight, self.bias = nn.Parameter(torch.randn(6, 2, 3, 3)), nn.Parameter(torch.randn(6))
        self.offset, self.mask = nn.Conv2d(4, 36, 3, 2, 1), nn.Conv2d(4, 18, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.torchvision.deform_conv2d(
            x, self.weight, self.offset(x), self.mask(x).sigmoid(), self.bias,
            2, 2, 1, 1, 1, 1, 2, 2, self.masked,
        )  # fmt: skip
        return result


def deform_conv(
    x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor,
    bias: torch.Tensor, stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int,
    dilation_w: int, groups: int, offset_groups: int, use_mask: bool,
) -> torch.Tensor:  # fmt: skip
    """Place by place, as the paper defines it (Zhu et al. 2018, equation 1)."""
    result = bias[:, None, None].repeat(x.shape[0], 1, *offset.shape[2:])
    padded = functional.pad(x, (20, 20, 20, 20))
    each, per = x.shape[1] // offset_groups, weight.shape[0] // groups
    for index in np.ndindex(*result.shape[:1], *result.shape[2:]):
        n, i, j = index
        taps = torch.zeros(x.shape[1], *weight.shape[2:])
        for c, a, b in np.ndindex(*taps.shape):
            tap = (c // each) * weight.shape[2] * weight.shape[3] + a * weight.shape[3] + b
            y = i * stride_h - pad_h + a * dilation_h + float(offset[n, 2 * tap, i, j])
            z = j * stride_w - pad_w + b * dilation_w + float(offset[n, 2 * tap + 1, i, j])
            top, left = int(np.floor(y)), int(np.floor(z))
            corners = padded[n, c, top + 20 : top + 22, left + 20 : left + 22]
            down, right = y - top, z - left
            shares = torch.tensor(
                [[(1 - down) * (1 - right), (1 - down) * right], [down * (1 - right), down * right]]
            )
            taps[c, a, b] = (corners * shares).sum() * (mask[n, tap, i, j] if use_mask else 1)
        for o in range(weight.shape[0]):
            begin = o // per * weight.shape[1]
            result[n, o, i, j] += (weight[o] * taps[begin : begin + weight.shape[1]]).sum()
    return result


@pytest.fixture(autouse=True, scope="module")
def _torchvision_operator() -> Iterator[None]:
    """The operator of torchvision, whose own kernels need a torch of the same build."""
    if hasattr(torch.ops.torchvision, "deform_conv2d"):
        yield
        return
    with torch.library._scoped_library("torchvision", "FRAGMENT") as library:
        library.define(
            "deform_conv2d(Tensor x, Tensor w, Tensor offset, Tensor mask, Tensor bias, "
            + "".join(f"SymInt n{index}, " for index in range(8))
            + "bool use_mask) -> Tensor"
        )
        library.impl("deform_conv2d", deform_conv, "CPU")
        library.impl(
            "deform_conv2d",
            lambda x, weight, offset, *_: x.new_empty(
                x.shape[0], weight.shape[0], *offset.shape[2:]
            ),
            "Meta",
        )
        yield


def matrices(x: torch.Tensor) -> torch.Tensor:
    """Regular matrices of 6 with zeros on the diagonal, so that rows must be swapped."""
    return torch.roll(torch.eye(6), 1, 0) * 3 + x[:, :6, None].sin() * x[:, None, :6].cos() / 2


class Encoder(nn.Module):
    """Two sequences; of the second the last elements are padding, as many as x says."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8))

    def forward(self, x: torch.Tensor) -> Any:
        length = (x[:, 0, 0].abs() * 3).long().clamp(1, 4)
        padded = torch.arange(x.shape[1]) >= length[:, None]
        return self.encoder(x, src_key_padding_mask=padded)


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 1)

    def forward(self, x: torch.Tensor) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.decoder(x, x, tgt_mask=mask)


def rotated(x: torch.Tensor) -> torch.Tensor:
    angle = torch.outer(torch.arange(x.shape[1]).float(), torch.tensor([1.0, 0.1, 0.2, 0.3]))
    turn = torch.polar(torch.ones_like(angle), angle)
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn[None]).flatten(2)


IMAGE = ((2, 4, 8, 10), (3, 4, 12, 14))
ROWS = ((2, 6), (5, 6))
TABLE = ((2, 6), (5, 9))
SEQUENCE = ((2, 5, 8), (3, 7, 8))
VOLUME = ((2, 3, 5, 6, 7), (3, 3, 6, 7, 9))
BATCH = ((2, 4, 8, 10), (3, 4, 8, 10))

NEEDS: dict[str, list[Need]] = {
    "pad_circular": [
        Need(
            lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), IMAGE, fails="openvino"
        )
    ],
    "pool_average": [
        Need(lambda: nn.AvgPool2d(3, 2, divisor_override=4), IMAGE, fails="onnxruntime"),
        Need(lambda: nn.AvgPool2d(3, 2, 1, divisor_override=4), IMAGE, fails="onnxruntime",
             exporter="torchscript"),
        Need(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE, fails="openvino"),
    ],
    "adaptive_avg_pool2d": [
        Need(lambda: nn.AdaptiveAvgPool2d((None, 1)), IMAGE, fails="onnxruntime"),
        Need(
            of(lambda x: functional.interpolate(x, scale_factor=0.6, mode="area")),
            IMAGE, fails="onnxruntime",
        ),
    ],
    "adaptive_avg_pool3d": [Need(lambda: nn.AdaptiveAvgPool3d((2, 3, 4)), VOLUME)],
    "adaptive_max_pool2d": [
        Need(lambda: nn.AdaptiveMaxPool2d((3, 7)), BATCH),
        Need(lambda: nn.AdaptiveMaxPool2d((3, 7), return_indices=True), IMAGE),
    ],
    "adaptive_max_pool3d": [Need(lambda: nn.AdaptiveMaxPool3d((2, 3, 4)), VOLUME)],
    "resize_linear_antialias": [
        Need(of(lambda x: functional.interpolate(
            x, size=(5, 17), mode="bilinear", antialias=True)), IMAGE, fails="openvino"),
        Need(of(lambda x: functional.interpolate(
            x, scale_factor=0.5, mode="bilinear", antialias=True)), IMAGE, fails="openvino"),
    ],
    "resize_cubic_antialias": [
        Need(of(lambda x: functional.interpolate(
            x, size=(5, 7), mode="bicubic", antialias=True)), IMAGE, fails="openvino"),
    ],
    "affine_grid": [
        Need(of(lambda x: functional.affine_grid(
            x[:, :2, 0, :3], x.shape, align_corners=False)), IMAGE),
        Need(of(lambda x: functional.affine_grid(
            x[:, :3, 0, 0, :4], x.shape, align_corners=True)), VOLUME),
    ],
    "grid_sample_volume": [
        Need(of(lambda x, m=mode, p=padding, c=corners: functional.grid_sample(
            x, x[:, :, :3, :4].movedim(1, -1) * 0.7, m, p, c)), VOLUME, fails="openvino")
        for mode, padding, corners in (("bilinear", "zeros", False), ("bilinear", "border", True),
                                       ("nearest", "zeros", False))
    ],
    "deform_conv": [
        Need(lambda: Deformable(True), IMAGE, engines=("onnxruntime",), exporter="torchscript"),
        Need(lambda: Deformable(False), IMAGE, engines=("onnxruntime",), exporter="torchscript"),
    ],
    "deform_conv_sampled": [
        Need(lambda: Deformable(True), IMAGE, engine="openvino", fails="openvino"),
        Need(lambda: Deformable(False), IMAGE, engine="openvino", fails="openvino"),
    ],
    "rrelu": [Need(nn.RReLU, TABLE)],
    "softplus_threshold": [
        Need(lambda: nn.Softplus(2, 0.5), TABLE, fails="onnxruntime", exporter="torchscript"),
    ],
    "scatter_mean": [
        Need(of(lambda x, s=own: x.scatter_reduce(
            1, (x[:, :4] > 0).long() * 2, x[:, 1:] * 3, "mean", include_self=s)),
            TABLE, fails="onnxruntime")
        for own in (True, False)
    ],
    "resize_nearest": [
        Need(of(lambda x: functional.interpolate(x, scale_factor=0.6, recompute_scale_factor=True)),
             IMAGE, fails="onnxruntime"),
        Need(of(lambda x: functional.interpolate(x, size=(4, 8))),
             ((2, 4, 8, 14), (3, 4, 12, 14)), fails="onnxruntime"),
    ],
    "attention_fast_path": [
        Need(encoder, (SEQUENCE[0], SEQUENCE[0]), exporter="torchscript"),
    ],
    "detect_causal_mask": [Need(Decoder, SEQUENCE)],
    "encoder_padding": [Need(Encoder, SEQUENCE, fails="onnxruntime")],
    "lstm": [
        Need(lambda: nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True), SEQUENCE),
        Need(lambda: nn.LSTM(8, 6, bias=False), ((5, 2, 8), (7, 3, 8))),
    ],
    "gru": [Need(lambda: nn.GRU(8, 6, 2, batch_first=True, bidirectional=True), SEQUENCE)],
    "rnn": [Need(lambda: nn.RNN(8, 6, batch_first=True, nonlinearity="relu"), SEQUENCE)],
    "fourier_of_real": [
        Need(of(lambda x: torch.view_as_real(torch.fft.rfft2(x))), BATCH, fails="openvino"),
        Need(of(lambda x: torch.fft.fft2(x).real), BATCH, fails="openvino"),
        Need(of(lambda x: torch.fft.fft2(x).real), IMAGE, fails="openvino"),
    ],
    "fourier_of_complex": [
        Need(of(lambda x: torch.view_as_real(
            torch.fft.ifft(torch.complex(x, x * x), norm="ortho"))), BATCH, fails="openvino"),
    ],
    "fourier_to_real": [
        Need(of(lambda x: torch.fft.irfft2(torch.complex(x, x * x), s=x.shape[-2:])), BATCH,
             fails="openvino"),
        Need(of(lambda x: torch.fft.irfft(torch.complex(x, x * x), n=9, norm="ortho")), BATCH,
             fails="openvino"),
    ],
    "complex_unsqueeze": [Need(of(rotated), SEQUENCE)],
    "complex_exp": [Need(of(lambda x: torch.exp(torch.complex(x, 2 * x)).real), TABLE)],
    "roll": [
        Need(of(lambda x: torch.roll(x, x.shape[2] // 2, 2)), IMAGE),
        Need(of(lambda x: torch.fft.fftshift(x, dim=(2, 3))), IMAGE),
    ],
    "len": [Need(of(lambda x: x.reshape(len(x), -1) + len(x)), IMAGE)],
    "conv3d": [Need(lambda: nn.Conv3d(3, 4, 3, bias=False), VOLUME, fails="onnxruntime")],
    "isin": [
        Need(of(lambda x: torch.isin(x, torch.arange(0, 80, 2)) * x), TABLE, make=whole(80)),
        Need(of(lambda x: torch.isin(x, torch.arange(40), invert=True)), TABLE, make=whole(80)),
    ],
    "is_all_true": [Need(of(lambda x: x * torch.ops.aten._is_all_true(x > -9)), TABLE)],
    "tensor_split": [Need(of(lambda x: torch.tensor_split(x, 3, 2)), IMAGE, fails="onnxruntime")],
    "linspace": [Need(of(lambda x: torch.linspace(0.5, 3.0, x.shape[1]) + x), TABLE)],
    "atan2": [
        Need(of(lambda x: torch.atan2(torch.zeros_like(x), x)), TABLE, fails="onnxruntime")
    ],
    "angle": [
        Need(of(lambda x: torch.complex(x, torch.zeros_like(x)).angle()), TABLE, fails="onnxruntime")
    ],
    "cumprod": [Need(of(lambda x: torch.cumprod(x, 1)), TABLE)],
    "cummax": [
        Need(of(lambda x: torch.cummax(x, 0)), TABLE),
        Need(of(lambda x: torch.cummax(x, 1)), TABLE, make=whole(3)),
    ],
    "cummin": [Need(of(lambda x: torch.cummin(x, 1)), TABLE)],
    "kthvalue": [Need(of(lambda x: torch.kthvalue(x, 2, 0)), ((4, 6), (5, 9)))],
    "median": [Need(of(torch.median), TABLE)],
    "median_along": [Need(of(lambda x: torch.median(x, 1)), TABLE)],
    "sort_stable": [
        Need(of(lambda x: torch.sort(x, dim=1, stable=True)), ((2, 30), (3, 40)), make=whole(3)),
        Need(of(lambda x: torch.argsort(x, dim=1, descending=True, stable=True)),
             ((2, 30), (3, 40)), make=whole(3)),
    ],
    "searchsorted": [
        Need(of(lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 0.5]), x)), TABLE),
        Need(of(lambda x: torch.searchsorted(x.sort(-1)[0], x[:, :2], right=True)), TABLE),
    ],
    "inverse": [
        Need(of(lambda x: torch.inverse(matrices(x))), ROWS),
    ],
    "linalg_inv": [Need(of(lambda x: torch.linalg.inv(matrices(x)[:, 1:, :5])), ROWS)],
    "solve": [
        Need(of(lambda x: torch.linalg.solve(matrices(x), x[:, :6, None])), ROWS),
        Need(of(lambda x: torch.linalg.solve(matrices(x), x[:, :6])), ROWS),
    ],
    "masked_select": [Need(of(lambda x: torch.masked_select(x, x[:1] > 0)), TABLE, engines=("onnxruntime",))],
    "embedding_bag": [
        Need(lambda: nn.EmbeddingBag(10, 4, mode="sum"), TABLE, make=whole(10), fails="openvino"),
        Need(lambda: nn.EmbeddingBag(10, 4, mode="max"), TABLE, make=whole(10), fails="openvino"),
        Need(of(lambda x: functional.embedding_bag(
            x.flatten(), torch.arange(40.0).view(10, 4) ** 2, torch.tensor([0, 3]))),
            TABLE, make=whole(10), fails="openvino"),
    ],
}  # fmt: skip
CRASHES = ("embedding_bag",)
"""Rewrites without which OpenVINO ends the process."""

CASES = [(name, index) for name in NEEDS for index in range(len(NEEDS[name]))]


@pytest.fixture(autouse=True, scope="module")
def _one_registry() -> Iterator[None]:
    """Torch reads the source of 500 translations for each export; once will do here."""
    kept: dict[int, Any] = {}
    original = ONNXRegistry.from_torchlib

    def from_torchlib(opset_version: int = 18) -> ONNXRegistry:
        if opset_version not in kept:
            kept[opset_version] = original(opset_version)
        registry = ONNXRegistry()
        registry._opset_version = kept[opset_version]._opset_version
        registry.functions = {
            key: list(each) for key, each in kept[opset_version].functions.items()
        }
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib))
        yield


def export(module: nn.Module, need: Need, x: torch.Tensor, with_rewrites: bool) -> bytes:
    """The graph, through torch alone."""
    axes = [axis for axis, (one, other) in enumerate(zip(*need.sizes, strict=True)) if one != other]
    context: Any = (
        rewrites.applied(module, exporter=need.exporter, engine=need.engine)
        if with_rewrites
        else None
    )
    with torch.no_grad(), context or nullcontext() as changes:
        if need.exporter == "torchscript":
            buffer = io.BytesIO()
            torch.onnx.export(
                module, (x,), buffer, dynamo=False, opset_version=20, input_names=["x"],
                dynamic_axes={"x": axes},
            )  # fmt: skip
            return buffer.getvalue()
        program = torch.export.export(
            changes.module if changes else module,
            (x,),
            dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),),
        )
        program = changes.decompose(program) if changes else program
        written = torch.onnx.export(
            program, dynamo=True, opset_version=20, optimize=False, verbose=False,
            custom_translation_table=changes.translations if changes else None,
        )  # fmt: skip
    assert written is not None
    graph: bytes = written.model_proto.SerializeToString()
    return graph


def session(graph: bytes, engine: str) -> Callable[[np.ndarray[Any, Any]], list[Any]]:
    if engine == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        loaded = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        name = loaded.get_inputs()[0].name
        return lambda x: list(loaded.run(None, {name: x}))
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda x: [compiled([x])[index] for index in range(len(compiled.outputs))]


def outputs_of(module: nn.Module, x: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    with torch.inference_mode():
        leaves = torch.utils._pytree.tree_leaves(module(x.clone()))
    return [leaf.numpy() for leaf in leaves]


def built(need: Need) -> tuple[nn.Module, list[torch.Tensor]]:
    torch.manual_seed(0)
    module = need.model().eval()
    return module, [need.make(size) for size in (need.sizes[0], *need.sizes)]


def assert_same(graph: bytes, engine: str, module: nn.Module, inputs: list[torch.Tensor]) -> None:
    run = session(graph, engine)
    for x in inputs:
        found, expected = run(x.numpy()), outputs_of(module, x)
        assert [(a.shape, a.dtype) for a in found] == [(a.shape, a.dtype) for a in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_every_builtin_rewrite_is_here() -> None:
    """Those for detectors are in test_rewrites_detection.py; see also test_rewrites_positions.py."""
    elsewhere = {name for name in rewrites.BUILTINS if name.startswith("detection_")}
    elsewhere.add("resize_positions")
    assert set(NEEDS) == set(rewrites.BUILTINS) - elsewhere


@pytest.mark.parametrize(("name", "index"), CASES)
def test_equal_with_the_rewrite(name: str, index: int) -> None:
    need = NEEDS[name][index]
    module, inputs = built(need)
    first, second, _ = (outputs_of(module, x) for x in inputs)
    moved = [not np.array_equal(a, b) for a, b in zip(first, second, strict=False)]
    assert any(moved) or [a.shape for a in first] != [b.shape for b in second]
    graph = export(module, need, inputs[0], with_rewrites=True)
    for engine in need.engines:
        assert_same(graph, engine, module, inputs)


def fails_at(name: str, index: int) -> Iterator[str]:
    """The places where a model fails without rewrites, as they are met."""
    need = NEEDS[name][index]
    module, inputs = built(need)
    try:
        graph = export(module, need, inputs[0], with_rewrites=False)
    except Exception:
        yield "export"
        return
    for engine in ("onnxruntime", "openvino"):
        try:
            assert_same(graph, engine, module, inputs)
        except (Exception, AssertionError):
            yield engine


@pytest.mark.parametrize(("name", "index"), [case for case in CASES if case[0] not in CRASHES])
def test_needed(name: str, index: int) -> None:
    assert NEEDS[name][index].fails in fails_at(name, index)


@pytest.mark.parametrize("name", CRASHES)
def test_needed_by_what_crashes(name: str) -> None:
    """In a process of its own."""
    paths = [str(ROOT / "tests"), str(ROOT / "tests" / "e2e")]
    code = (
        f"import sys; sys.path[:0] = {paths!r}; import test_builtin_rewrites as t\n"
        f"for index, need in enumerate(t.NEEDS[{name!r}]):\n"
        f"    assert need.fails in t.fails_at({name!r}, index), index"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGSEGV), done.stderr


def test_guide_lists_the_builtin_rewrites() -> None:
    shown = {
        cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]]
        for cells in (line.strip("|").split("|") for line in prose(ROOT / "docs" / "rewrites.md"))
        if cells[0].strip().strip("`") in REWRITES
    }
    assert list(shown) == list(rewrites.BUILTINS)
    for name, (target, needed_by, summary) in shown.items():
        rewrite = REWRITES.get(name)
        assert target == f"`{rewrite.target}`"
        assert needed_by == rewrite.needed_by.replace("|", r"\|")
        assert summary == rewrite.summary


class Recurrent(nn.Module):
    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.body, self.layer = nn.Linear(8, 8), layer(8, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps: torch.Tensor = self.layer(self.body(x))[0]
        return steps


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_programs_for_engines_hold_no_operators_of_onnx(
    layer: type[nn.Module], tmp_path: Path
) -> None:
    """Engines that take programs know torch's own recurrent layers, and nothing of ONNX."""
    torch.manual_seed(0)
    net = Recurrent(layer).eval()
    source = open_source(net, inputs="x=2x5x8")
    kinds = {node.op_type for node in source.to_graph().graph}
    assert layer.__name__ in kinds
    assert source.write_program(tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    assert not any("onnx" in str(node.target) for node in program.graph.nodes)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(tuple(program.module()(x)), (net(x),))

"""How a module becomes a graph: exporters, parts, names, weights, free sizes, branches, state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport import ExportOptions
from modelport.deployment import export as proving
from modelport.engines.base import Session
from modelport.errors import ExportError, UsageError, VerificationError
from modelport.export import Exported
from modelport.frontends import branches
from modelport.graph import io, provenance
from modelport.graph.query import operator_counts
from support import entries


def exported(source: nn.Module, inputs: Any, /, **settings: Any) -> Exported:
    """Exports with those options, every other setting beside them."""
    known = ExportOptions.__dataclass_fields__
    options = {name: settings.pop(name) for name in list(settings) if name in known}
    return modelport.export(source, inputs, options=ExportOptions(**options), **settings)


def run(model: ir.Model | Path, *arrays: Any, **more: Any) -> list[np.ndarray[Any, Any]]:
    """The outputs of a graph for arrays by position, in ONNX Runtime."""
    content = str(model) if isinstance(model, Path) else io.to_proto(model).SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    feeds = {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}
    return session.run(None, {**feeds, **more})


def assert_same(model: ir.Model | Path, module: nn.Module, *tensors: Tensor) -> None:
    with torch.no_grad():
        want = module.eval()(*(tensor.clone() for tensor in tensors))
    want = list(want) if isinstance(want, (tuple, list)) else [want]
    got = run(model, *(tensor.numpy() for tensor in tensors))
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


def normal(*shape: int, seed: int = 5, shift: float = 0.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + shift


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


class Net(nn.Module):
    """A backbone, a neck that takes two tensors in a dictionary, and a head used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.neck = Neck()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.backbone(x)
        y = self.neck({"near": y, "far": y[:, :, ::2, ::2]}, scale=2.0)
        return self.head(self.head(y).repeat(1, 2, 1, 1)).mean((2, 3))


class Neck(nn.Module):
    def forward(self, levels: dict[str, Tensor], scale: float = 1.0) -> Tensor:
        return levels["near"] * scale + levels["far"].mean((2, 3), keepdim=True)


# --- exporters ----------------------------------------------------------------------------------


class Doubled(nn.Module):
    """Doubles; told to, it is wrong while an exporter looks."""

    def __init__(self, *wrong_in: str) -> None:
        super().__init__()
        self.wrong_in = wrong_in

    def forward(self, x: Tensor) -> Tensor:
        tracing = torch.jit.is_tracing()
        exporting = torch.compiler.is_exporting() and not tracing
        factor = 2.0
        if exporting and "torch.export" in self.wrong_in:
            factor = 2.5
        if tracing and "torchscript" in self.wrong_in:
            factor = 3.0
        return x * factor


@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_the_exporter_asked_for_is_used(exporter: str) -> None:
    made = exported(Doubled(), "x=1x4", exporter=exporter)
    assert made.exporter == exporter
    assert len(made.attempts) == 1
    assert made.attempts[0].startswith(f"{exporter}: correct, ")
    assert operator_counts(made.model) == {"Mul": 1}
    assert_same(made.model, Doubled(), normal(1, 4))


def test_a_cross_check_compares_both_and_says_which_and_why() -> None:
    made = exported(Doubled(), "x=1x4", cross_check=True)
    assert [attempt.split(":")[0] for attempt in made.attempts] == ["torch.export", "torchscript"]
    assert all(": correct, " in each and each.endswith(" ms") for each in made.attempts)
    assert made.reason.startswith("both graphs are correct and ")
    assert made.exporter in ("torch.export", "torchscript")
    assert made.notes == []


@pytest.mark.parametrize("wrong", ["torch.export", "torchscript"])
def test_a_wrong_graph_loses_the_cross_check(wrong: str) -> None:
    made = exported(Doubled(wrong), "x=1x4", cross_check=True)
    (right,) = {"torch.export", "torchscript"} - {wrong}
    assert made.exporter == right
    assert made.reason == "it alone gave a correct graph"
    assert any(each.startswith(f"{wrong}: wrong: The exported graph") for each in made.attempts)
    assert any(note.startswith(f"not used: {wrong}: wrong") for note in made.notes)
    assert_same(made.model, Doubled(), normal(1, 4))


def test_the_faster_graph_wins_only_by_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the ratio; a tie goes to the graph that keeps more names."""
    speeds = {"torch.export": 1.0, "torchscript": 1.0}

    def timed(loaded: Any, correct: Any) -> None:
        for attempt in correct:
            attempt.latency_ms = speeds[attempt.exporter]

    monkeypatch.setattr(proving, "_time", timed)
    attempts = [proving.Attempt(name) for name in speeds]
    for slower, winner in ((1.0, "torch.export"), (1.04, "torch.export"), (1.2, "torchscript")):
        speeds["torch.export"] = slower
        best, reason = proving._best(None, attempts, attempts)  # type: ignore[arg-type]
        assert best.exporter == winner
        assert ("1.20x faster" in reason) is (slower == 1.2)


@pytest.mark.parametrize("cross_check", [False, True])
def test_both_wrong_is_an_error(cross_check: bool, tmp_path: Path) -> None:
    module = Doubled("torch.export", "torchscript")
    with pytest.raises(VerificationError) as caught:
        exported(module, "x=1x4", cross_check=cross_check, output=tmp_path / "net.onnx")
    said = str(caught.value)
    assert said.startswith("The exported graph differs from the source for x [1, 4]: output: ")
    assert "Tried next, torchscript: The exported graph differs" in said
    assert list(entries(tmp_path)) == []


def test_without_the_check_a_wrong_graph_passes() -> None:
    made = exported(Doubled("torchscript"), "x=1x4", exporter="torchscript", check=False)
    assert run(made.model, np.ones((1, 4), np.float32))[0].tolist() == [[3.0] * 4]


class Reads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1


def test_a_trace_that_reads_values_is_refused() -> None:
    """Both random feeds may take the side that was traced, so the comparison alone cannot do."""
    line = Reads.forward.__code__.co_firstlineno + 1
    with pytest.raises(ExportError) as caught:
        exported(Reads(), "x=1x4", exporter="torchscript")
    assert f"stops at {Path(__file__).name}:{line}: Python reads the values" in str(caught.value)
    assert "--branches join" in str(caught.value)


class ReadsSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape
        y = x.reshape(rows * columns)
        return y.reshape(rows, columns) if columns % 2 == 0 else x


def test_a_trace_that_reads_sizes_is_not() -> None:
    made = exported(ReadsSizes(), "x=1..5x4", exporter="torchscript")
    for rows in (1, 4, 5):
        assert_same(made.model, ReadsSizes(), normal(rows, 4))


def test_what_one_exporter_lacks_the_other_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelport.frontends import torch_export

    def lacking(job: Any) -> ir.Model:
        raise ExportError("No ONNX function found for <OpOverload(op='aten.odd')>")

    monkeypatch.setattr(torch_export, "export", lacking)
    made = exported(Doubled(), "x=1x4")
    assert made.exporter == "torchscript"
    assert made.attempts[0].startswith("torch.export: failed: No ONNX function")
    assert any("aten.odd" in note for note in made.notes)


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.rfft(x))


def test_an_operator_without_translation_is_named() -> None:
    with pytest.raises(ExportError, match=r"aten::fft_rfft.*no translation to ONNX"):
        exported(Spectrum(), "x=1x8", exporter="torchscript")


@pytest.mark.parametrize(
    ("opset", "exporter"), [(9, "torchscript"), (17, "torchscript"), (18, "torch.export"),
                            (25, "torch.export")]
)  # fmt: skip
def test_the_opset_decides_who_can_write_it(opset: int, exporter: str) -> None:
    made = exported(nn.Linear(4, 2), "x=1x4", opset=opset)
    assert made.exporter == exporter
    assert made.model.opset_imports[""] == opset
    onnx_ok = run(made.model, np.ones((1, 4), np.float32))[0]
    assert onnx_ok.shape == (1, 2)


@pytest.mark.parametrize(
    ("opset", "exporter", "said"),
    [
        (
            17,
            "torch.export",
            "opset 17 cannot be written by the torch.export-based exporter. Expec",
        ),
        (
            21,
            "torchscript",
            "opset 21 cannot be written by the TorchScript-based exporter. Expecte",
        ),
        (26, "auto", "opset 26 cannot be written by the torch.export-based exporter. Tried next"),
        (8, "auto", "Tried next, torchscript: The opset 8 cannot be written"),
    ],
)
def test_an_opset_that_nobody_writes(opset: int, exporter: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        exported(nn.Linear(4, 2), "x=1x4", opset=opset, exporter=exporter)
    assert said in str(caught.value)


def test_names_of_inputs_and_outputs() -> None:
    for exporter in ("torch.export", "torchscript"):
        made = exported(
            SumAndDifference(), {"x": "1x4", "y": "1x4"}, input_names=["left", "right"],
            output_names=["sum", "difference"], exporter=exporter,
        )  # fmt: skip
        assert [value.name for value in made.model.graph.inputs] == ["left", "right"]
        assert [value.name for value in made.model.graph.outputs] == ["sum", "difference"]
        assert_same(made.model, SumAndDifference(), normal(1, 4), normal(1, 4, seed=6))


class SumAndDifference(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x + y, x - y


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]], ids=" ".join)
def test_names_of_inputs_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(UsageError, match="2 different names, for x, y"):
        exported(SumAndDifference(), ["1x4", "1x4"], input_names=names)


# --- parts --------------------------------------------------------------------------------------


def test_a_part_is_exported_with_the_sizes_that_the_whole_gives_it() -> None:
    net = seeded(Net)
    made = exported(net, "x=1..4x3x8..16/2x8", module="backbone")
    (image,) = made.signature.inputs
    assert str(image).partition(": ")[2] == "float32 1..4x3x8..16x8"
    for shape in ((1, 3, 8, 8), (3, 3, 14, 8)):
        assert_same(made.model, net.backbone, normal(*shape))
    paths = {provenance.module_of(node) for node in made.model.graph}
    assert paths <= {"", "0", "1", "2", "backbone", "backbone.0", "backbone.1", "backbone.2"}


def test_a_part_that_takes_a_dictionary_and_a_number() -> None:
    net = seeded(Net)
    made = exported(net, "x=1x3x8x8", module="neck", exporter="torchscript")
    assert [spec.name for spec in made.signature.inputs] == ["levels.near", "levels.far"]
    near, far = normal(1, 4, 8, 8), normal(1, 4, 4, 4, seed=6)
    (got,) = run(made.model, near.numpy(), far.numpy())
    want = net.neck({"near": near, "far": far}, scale=2.0)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-6)


class Tail(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0] if float(x.sum().item()) > 0 else x.nonzero()


class WithTail(nn.Module):
    """What follows the head keeps no graph together."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.ModuleDict({"scores": nn.Linear(4, 2), "boxes": nn.Linear(4, 3)})
        self.tail = Tail()

    def forward(self, x: Tensor) -> Any:
        y = self.body(x)
        scores, boxes = self.head["scores"](y), self.head["boxes"](y)
        return self.tail(scores) + boxes.sum().item()


@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_outputs_before_a_tail_that_cannot_be_exported(exporter: str) -> None:
    module = seeded(WithTail)
    made = exported(module, "x=1x4", outputs=("head.boxes", "head.scores"), exporter=exporter)
    assert [spec.name for spec in made.signature.outputs] == ["head.boxes", "head.scores"]
    x = normal(1, 4)
    y = module.body(x)
    for got, head in zip(run(made.model, x.numpy()), ("boxes", "scores"), strict=True):
        want = module.head[head](y).detach()
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-6)


def test_of_a_module_used_twice_the_last_call_is_given() -> None:
    net = seeded(Net)
    made = exported(net, "x=1x3x8x8", outputs=("head",), exporter="torchscript")
    (got,) = run(made.model, normal(1, 3, 8, 8).numpy())
    np.testing.assert_allclose(
        got.mean((2, 3)), net(normal(1, 3, 8, 8)).detach().numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("options", [{"module": "bakbone"}, {"outputs": ("bakbone",)}], ids=str)
def test_a_path_that_is_not_there(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"no module 'bakbone'.*Perhaps you meant 'backbone'"):
        exported(seeded(Net), "x=1x3x8x8", **options)


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "files"),
    [
        ("auto", ["net.onnx"]),
        ("inside", ["net.onnx"]),
        ("outside", ["net.onnx", "net.onnx.data"]),
        ("nowhere", ["net.onnx"]),
    ],
)
def test_where_weights_go(place: str, files: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Linear(64, 64)
    path = tmp_path / "net.onnx"
    made = exported(module, "x=1x64", exporter="torchscript", output=path, weights_in=place)
    assert made.path == path
    assert sorted(entries(tmp_path)) == files
    size = 64 * 64 * 4
    assert (path.stat().st_size > size) is (place in ("auto", "inside"))
    if place == "nowhere":
        with pytest.raises(modelport.ModelportError, match=r"net\.onnx\.data', which is missing"):
            io.load(path)
        tensors = [v.const_value for v in ir.load(path).graph.initializers.values()]
        assert {str(tensor.location) for tensor in tensors} == {"net.onnx.data"}
        assert {tuple(tensor.shape) for tensor in tensors} == {(64, 64), (64,)}
    else:
        assert_same(path, module, normal(1, 64))


def test_weights_left_out_can_be_put_beside_the_file_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Linear(8, 8)
    for folder, place in (("a", "outside"), ("b", "nowhere")):
        exported(
            module, "x=1x8", exporter="torchscript",
            output=tmp_path / folder / "net.onnx", weights_in=place,
        )  # fmt: skip
    (tmp_path / "a" / "net.onnx.data").rename(tmp_path / "b" / "net.onnx.data")
    assert_same(tmp_path / "b" / "net.onnx", module, normal(1, 8))


def test_weights_that_callers_may_replace(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = nn.Linear(4, 2), tmp_path / "net.onnx"
    made = exported(
        module, "x=1x4", exporter="torchscript", output=path, initializers_as_inputs=True
    )
    names = {value.name for value in ir.load(path).graph.inputs}
    assert names == {"x", "weight", "bias"}
    assert [spec.name for spec in made.signature.inputs] == ["x"]
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = normal(1, 4)
    (plain,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(plain, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    (moved,) = session.run(None, {"x": x.numpy(), "bias": np.array([10, 20], np.float32)})
    want = (x @ module.weight.T + torch.tensor([10.0, 20.0])).detach().numpy()
    np.testing.assert_allclose(moved, want, rtol=1e-5, atol=1e-6)


# --- free sizes ---------------------------------------------------------------------------------


def spied(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, tuple[int, ...]]]:
    """The shapes that sessions are run with, from now on."""
    seen: list[dict[str, tuple[int, ...]]] = []
    original = Session.run

    def run(self: Session, feeds: Any) -> Any:
        seen.append({name: array.shape for name, array in feeds.items()})
        return original(self, feeds)

    monkeypatch.setattr(Session, "run", run)
    return seen


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.layer(x) * y.sum(1, keepdim=True)


@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_the_smallest_a_typical_and_the_largest_size_are_run(
    exporter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = seeded(Mixed)
    seen = spied(monkeypatch)
    made = exported(module, ["x=n[1..9]x3", "y=n[1..9]x4..12/4"], exporter=exporter)
    shapes = {(one["x"], one["y"]) for one in seen}
    assert shapes == {((1, 3), (1, 4)), ((5, 3), (5, 8)), ((9, 3), (9, 12))}
    for rows, columns in ((1, 4), (2, 12), (9, 8)):
        assert_same(made.model, module, normal(rows, 3), normal(rows, columns))
    # One name, one size: the graph says so to every engine that reads it.
    x, y = made.model.graph.inputs
    assert x.shape[0] == y.shape[0] == "n"
    assert made.signature.outputs[0].shape[1] == 3


class Halves(nn.Module):
    """Demands an even number of rows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0] // 2, 2, 3) + 1


def test_sizes_in_steps() -> None:
    made = exported(Halves(), "x=2..10/2x3", exporter="torch.export")
    (spec,) = made.signature.inputs
    assert str(spec) == "x: float32 2..10/2x3"
    for rows in (2, 6, 10):
        assert_same(made.model, Halves(), normal(rows, 3))


def test_steps_that_the_code_needs_are_suggested() -> None:
    with pytest.raises(modelport.ModelportError) as caught:
        exported(Halves(), "x=1..9x3", exporter="torch.export")
    said = str(caught.value)
    assert said.startswith(
        "The source itself fails for x [1, 3]: PyTorch failed while running: shap"
    )
    assert "a range in steps is written 32..640/32" in said


class FixedRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(4.0)[:, None]


def test_a_size_that_the_code_fixes_is_an_error() -> None:
    with pytest.raises(modelport.ModelportError) as caught:
        exported(FixedRows(), "x=2..8x3")
    said = str(caught.value)
    assert "The source itself fails for x [2, 3]: " in said
    assert said.endswith("The code allows less than the inputs do: x_0 must be 4.")


def test_sizes_that_must_be_equal_are_suggested() -> None:
    with pytest.raises(ExportError, match=r"y_0 must equal x_0 \(give both one name, as in n\["):
        exported(SumAndDifference(), ["x=2..8x3", "y=2..8x3"], exporter="torch.export")


# --- branches and loops -------------------------------------------------------------------------


class Cond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, self.left, lambda y: self.right(y) * 2, (x,))


def test_cond_becomes_if() -> None:
    module = seeded(Cond)
    made = exported(module, "x=2x3")
    assert operator_counts(made.model)["If"] == 1
    for shift in (3.0, -3.0):
        assert_same(made.model, module, normal(2, 3, shift=shift))


class While(nn.Module):
    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        def more(i: Tensor, _: Tensor) -> Tensor:
            return i < n

        def step(i: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return i + 1, y * 1.5 + 0.25

        return torch.while_loop(more, step, (torch.tensor(0), x))[1]


def test_while_loop_becomes_loop() -> None:
    made = exported(While(), {"x": normal(2, 3), "n": torch.tensor(3)})
    assert operator_counts(made.model)["Loop"] == 1
    for count in (0, 1, 5):
        assert_same(made.model, While(), normal(2, 3), torch.tensor(count))


class Ways(nn.Module):
    """Three ways; each has constants of its own, which torch gives the same names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if y.sum() > 0:
            if y.max() > 1.0:
                return self.head(y) + torch.tensor([1.0, 2.0, 3.0])
            return y * torch.tensor([4.0, 5.0, 6.0])
        return self.head(y) - torch.tensor([7.0, 8.0, 9.0])


def test_every_way_is_exported_and_joined() -> None:
    module = seeded(Ways)
    made = exported(module, "x=2x3", branches="join")
    counts = operator_counts(made.model)
    assert counts["If"] == 2
    assert counts["Gemm"] == 3, "the stem once, and the head on two of three ways"
    assert [node.op_type for node in made.model.graph].count("Gemm") == 1, "before every question"
    weights = list(made.model.graph.initializers)
    assert sum("head.weight" in name for name in weights) == 1, "ways share their weights"
    taken = set()
    for seed in range(40):
        x = normal(2, 3, seed=seed) * (seed % 4)
        assert_same(made.model, module, x)
        y = module.stem(x)
        taken.add((bool(y.sum() > 0), bool(y.max() > 1.0) and bool(y.sum() > 0)))
    assert len(taken) == 3, "the test must take every way"


class Constants(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1e6:
            return x + torch.tensor([1.0, 2.0, 3.0])
        return x * torch.tensor([4.0, 5.0, 6.0])


def test_a_way_that_no_random_input_takes_is_noted_and_right_all_the_same() -> None:
    made = exported(Constants(), "x=2x3", branches="join")
    assert made.notes == [
        "of 2 ways through the branches, no random input took 1: these were not compared with the "
        "source"
    ]
    for factor in (1.0, 1e7):
        assert_same(made.model, Constants(), normal(2, 3, shift=1.0) * factor)


class Alike(nn.Module):
    def __init__(self, other: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.other = other

    def forward(self, x: Tensor) -> Any:
        return (x, x + 1) if x.sum() > 0 else self.other(x)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda x: (x.sum(1), x), "different kinds of output_0: FLOAT with"),
        (lambda x: (x.to(torch.int64), x), "different kinds of output_0: FLOAT with 2 dim"),
        (lambda x: x * 2, "The two ways of a branch give 2 and 1 outputs."),
    ],
    ids=["rank", "type", "count"],
)
def test_ways_that_do_not_match(other: Any, said: str) -> None:
    with pytest.raises(ExportError) as caught:
        exported(Alike(other), "x=2x3", branches="join", exporter="torch.export")
    assert said in str(caught.value)


class Many(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for index in range(3):
            x = x * 2 if x[0, 0] > index / 10 else x + 1
        return x


def test_too_many_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branches, "MOST_WAYS", 2)
    with pytest.raises(ExportError, match=r"^There are more than 2 ways .*torch\.where"):
        exported(Many(), "x=2x3", branches="join", exporter="torch.export")


# --- state --------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(3, 3)
        self.register_buffer("hidden", torch.zeros(1, 3))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = torch.tanh(self.cell(x) + self.hidden)
        self.steps += 1
        return self.hidden * self.steps


@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_state_is_carried_by_the_caller(exporter: str) -> None:
    module = seeded(Recurrent)
    made = exported(module, "x=1x3", state=True, exporter=exporter)
    assert [spec.name for spec in made.signature.inputs] == ["x", "hidden", "steps"]
    assert [s.name for s in made.signature.outputs] == ["output", "hidden.next", "steps.next"]
    assert int(module.steps) == 0, "exporting leaves the module as it was"
    state = [np.zeros((1, 3), np.float32), np.array(0)]
    for seed in range(4):
        x = normal(1, 3, seed=seed)
        output, *state = run(made.model, x.numpy(), *state)
        np.testing.assert_allclose(output, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert int(state[1]) == int(module.steps) == 4


def test_state_is_refused_unless_asked_for() -> None:
    with pytest.raises(ExportError) as caught:
        exported(seeded(Recurrent), "x=1x3")
    assert str(caught.value) == (
        "The outputs depend on what earlier calls left in hidden, steps. Expected outputs that "
        "depend on the inputs alone: a graph has no memory. Pass --state to make these buffers "
        "inputs and outputs of the graph."
    )


class Watched(nn.Module):
    """Counts its calls without using the number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 2


def test_state_without_effect_is_noted_and_left_alone() -> None:
    module = Watched()
    made = exported(module, "x=1x3", exporter="torchscript")
    assert len(made.signature.inputs) == len(made.signature.outputs) == 1
    assert any("changes calls when it runs, without effect" in note for note in made.notes)
    assert int(module.calls) == 0, "neither the export nor its proof may change the user's module"


@pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
def test_names_that_are_numbers(exporter: str) -> None:
    """torch keeps numbers for names of its own; a user's dictionary may have them all the same."""
    source = modelport.Source(nn.Linear(4, 3), "0=1..4x4", output_names=["1"])
    exported = modelport.export(source, options=modelport.ExportOptions(exporter=exporter))
    assert [value.name for value in exported.model.graph.inputs] == ["0"]
    assert [value.name for value in exported.model.graph.outputs] == ["1"]

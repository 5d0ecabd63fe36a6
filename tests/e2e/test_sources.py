"""Every kind of source, exported for real and compared with what it came from on fresh inputs."""

from __future__ import annotations

import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes files as other tools would
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper  # noqa: TID251
from onnx.reference import ReferenceEvaluator  # noqa: TID251
from torch import Tensor, nn

import modelport
from modelport import ExportOptions
from modelport.engines import ENGINES
from modelport.engines.scratch import opened
from modelport.errors import SourceError, UsageError, WeightsError
from modelport.export import Exported
from modelport.graph import io
from modelport.graph.query import operator_counts, signature_of
from modelport.types import Target
from support import entries

Array = np.ndarray[Any, Any]
TRUST = ExportOptions(trust=True, exporter="torchscript")


def run(model: ir.Model | Path | onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime gives for a graph as it is."""
    if isinstance(model, ir.Model):
        model = io.to_proto(model)
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_close(got: dict[str, Array], want: dict[str, Array]) -> None:
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].shape == array.shape, name
        assert got[name].dtype == array.dtype, name
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def assert_gives(made: Exported, module: Any, *tensors: Tensor) -> None:
    """The graph's outputs are those of the module, and move with the input."""
    with torch.no_grad():
        want = module(*(tensor.clone() for tensor in tensors))
    want = list(want) if isinstance(want, (tuple, list)) else [want]
    names = [spec.name for spec in made.signature.inputs]
    feeds = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    got = run(made.model, feeds)
    for one, other in zip(got.values(), want, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


def normal(*shape: int, seed: int = 5, shift: float = 0.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + shift


@contextmanager
def old_ways() -> Iterator[None]:
    """torch warns of what it will drop; whoever wrote the file saw that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


# --- TorchScript --------------------------------------------------------------------------------


def test_a_traced_file(tmp_path: Path) -> None:
    module, path = Small().eval(), tmp_path / "traced.pt"
    with old_ways():
        torch.jit.trace(module, torch.zeros(2, 3)).save(str(path))
    made = modelport.export(path, "x=1..6x3")
    assert made.exporter == "torchscript"
    for rows in (1, 3, 6):
        assert_gives(made, module, normal(rows, 3))
    with pytest.raises(UsageError, match="has no modules left that could be cut out"):
        modelport.export(path, "x=1x3", options=ExportOptions(outputs=("body",)))
    with pytest.raises(UsageError, match=r"cannot go through the exporter torch\.export"):
        modelport.export(path, "x=1x3", options=ExportOptions(exporter="torch.export"))


class Looping(nn.Module):
    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        for _ in range(int(count)):
            x = x * 0.9 + 0.1
        if bool(x.sum() > 0):  # noqa: SIM108  (a branch is what this is about)
            x = x * 2
        else:
            x = x - 1
        return x


def test_a_scripted_file_keeps_its_loop_and_branch(tmp_path: Path) -> None:
    path = tmp_path / "scripted.pt"
    with old_ways():
        torch.jit.script(Looping()).save(str(path))
    made = modelport.export(path, ["x=1..4x3", "count:int64=scalar"])
    counts = operator_counts(made.model)
    assert counts["Loop"] == counts["If"] == 1
    for count in (0, 1, 7):
        for shift in (-4.0, 4.0):
            assert_gives(made, Looping(), normal(2, 3, shift=shift), torch.tensor(count))


def test_a_script_in_memory() -> None:
    with old_ways():
        script = torch.jit.script(Small().eval())
    assert_gives(modelport.export(script, "x=2x3"), Small().eval(), normal(2, 3))


# --- torch.export -------------------------------------------------------------------------------


def saved(path: Path, module: nn.Module, args: Any, **settings: Any) -> Path:
    with old_ways():
        torch.export.save(torch.export.export(module.eval(), args, **settings), path)
    return path


def test_a_program_of_free_size(tmp_path: Path) -> None:
    size = torch.export.Dim("n", min=1, max=8)
    path = saved(
        tmp_path / "net.pt2", Small(), (torch.zeros(2, 3),), dynamic_shapes={"x": {0: size}}
    )
    made = modelport.export(path)
    assert str(made.signature.inputs[0]) == "x: float32 1..8x3"
    for rows in (1, 4, 8):
        assert_gives(made, Small().eval(), normal(rows, 3))


def test_a_program_without_an_upper_bound(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "net.pt2", Small(), (torch.zeros(2, 3),),
        dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}},
    )  # fmt: skip
    made = modelport.export(path)
    (size, _) = made.signature.inputs[0].shape
    assert size.maximum is None
    assert_gives(made, Small().eval(), normal(50, 3))


class Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0] // 2, 2, 3) * 3


def test_a_program_with_sizes_in_steps(tmp_path: Path) -> None:
    count = torch.export.Dim("_n", min=1, max=8)
    path = saved(
        tmp_path / "net.pt2", Halves(), (torch.zeros(4, 3),), dynamic_shapes={"x": {0: 2 * count}}
    )
    made = modelport.export(path)
    (size, _) = made.signature.inputs[0].shape
    assert (size.step, size.maximum) == (2, 16)
    for rows in (4, 16):
        assert_gives(made, Halves(), normal(rows, 3))


class Nested(nn.Module):
    def forward(self, batch: dict[str, Tensor], flip: bool = False) -> dict[str, Any]:
        x = batch["image"] if not flip else -batch["image"]
        return {"sum": x + batch["mask"], "parts": [x * 2, batch["mask"]]}


def test_a_static_program_in_memory_with_nested_inputs() -> None:
    batch = {"image": torch.zeros(2, 3), "mask": torch.zeros(2, 3)}
    program = torch.export.export(Nested(), (batch,), {"flip": True})
    made = modelport.export(program)
    assert made.exporter == "torch.export"
    assert [spec.name for spec in made.signature.outputs] == ["sum", "parts.0", "parts.1"]
    image, mask = normal(2, 3), normal(2, 3, seed=6)
    names = [spec.name for spec in made.signature.inputs]
    got = run(made.model, dict(zip(names, (image.numpy(), mask.numpy()), strict=True)))
    np.testing.assert_allclose(got["sum"], (mask - image).numpy(), rtol=1e-6)
    np.testing.assert_allclose(got["parts.0"], (image * -2).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(got["parts.1"], mask.numpy())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"module": "body"}, "--module was given for a torch.export program"),
        ({"outputs": ("body",)}, "--outputs was given"),
        ({"branches": "join"}, "--branches was given"),
        ({"state": True}, "--state was given"),
    ],
)
def test_what_a_program_cannot_have(options: dict[str, Any], said: str) -> None:
    program = torch.export.export(Small().eval(), (torch.zeros(2, 3),))
    with pytest.raises(UsageError, match=said):
        modelport.export(program, options=ExportOptions(**options))


# --- pickles and weights ------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_whole_module_is_read_by_those_who_trust_it(
    zipped: bool, protocol: int, tmp_path: Path
) -> None:
    module, path = Small().eval(), tmp_path / "whole.pt"
    torch.save(
        {"model": module, "epoch": 3}, path,
        pickle_protocol=protocol, _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    with pytest.raises(SourceError, match=r"is a pickle of a whole module, .*Pass --trust"):
        modelport.export(path, "x=2x3")
    made = modelport.export(path, "x=2x3", options=TRUST)
    assert_gives(made, module, normal(2, 3))


def test_a_pickled_module_has_modules_to_cut(tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "whole.pth")
    options = ExportOptions(trust=True, exporter="torchscript", module="body.0")
    made = modelport.export(tmp_path / "whole.pth", "x=2x3", options=options)
    assert_gives(made, Small().body[0], normal(2, 3))


@pytest.mark.parametrize("trust", [False, True])
def test_weights_are_no_model(trust: bool, tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    with pytest.raises(SourceError, match=r"holds weights and no model\..*--weights w\.pth"):
        modelport.export(tmp_path / "w.pth", "x=2x3", options=ExportOptions(trust=trust))


def test_weights_in_every_wrapping(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trained = Small()
    with torch.no_grad():
        trained.body[0].weight.mul_(3)
    state = trained.state_dict()
    files: dict[str, Any] = {
        "plain.pth": state,
        "wrapped.pt": {"state_dict": state, "epoch": 1},
        "deep.pth": {"model": {"state_dict": state}},
        "parallel.pth": {f"module.{key}": value for key, value in state.items()},
        "compiled.pth": {"model": {f"_orig_mod.{key}": value for key, value in state.items()}},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    save_file(state, tmp_path / "plain.safetensors")
    for name in (*files, "plain.safetensors"):
        options = ExportOptions(exporter="torchscript")
        made = modelport.export(Small(), "x=2x3", weights=tmp_path / name, options=options)
        assert_gives(made, trained.eval(), normal(2, 3))


def test_weights_that_hold_code_are_loaded_by_those_who_trust_them(tmp_path: Path) -> None:
    torch.save({"state_dict": Small().state_dict(), "args": Small()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="pass --trust only if you know"):
        modelport.export(Small(), "x=2x3", weights=tmp_path / "w.pth")
    made = modelport.export(Small(), "x=2x3", weights=tmp_path / "w.pth", options=TRUST)
    assert_gives(made, Small().eval(), normal(2, 3))


# --- ONNX of every opset ------------------------------------------------------------------------

OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)


class Graph:
    """Writes the same network in the form that each opset has for it."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, array: Any, kind: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name

    def add(self, op: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        self.nodes.append(
            helper.make_node(op, inputs, list(outputs), name=outputs[0], **attributes)
        )

    def moved(
        self,
        op: str,
        since: int,
        value: str,
        result: str,
        *,
        key: str,
        numbers: list[int],
        **more: Any,
    ) -> None:
        """An operator whose numbers were an attribute, and are an input since that opset."""
        if self.opset < since:
            self.add(op, [value], result, **{key: numbers}, **more)
        else:
            self.add(op, [value, self.weight(f"{result}.{key}", numbers, np.int64)], result, **more)


def network(opset: int) -> onnx.ModelProto:
    g, generator = Graph(opset), np.random.default_rng(0)
    g.weight("w", generator.standard_normal((4, 3, 3, 3)) * 0.3)
    g.weight("b", generator.standard_normal(4))
    g.add("Conv", ["x", "w", "b"], "conv", pads=[1, 1, 1, 1])
    for name in ("scale", "shift", "mean", "variance"):
        g.weight(name, generator.uniform(0.5, 1.5, 4))
    old = {"spatial": 1} if opset < 9 else {}
    g.add("BatchNormalization", ["conv", "scale", "shift", "mean", "variance"], "norm", **old)
    g.add("Dropout", ["norm"], "rest", **({"ratio": 0.5} if opset < 12 else {}))
    if opset < 11:
        g.add("Clip", ["rest"], "clip", min=-1.0, max=3.0)
    else:
        g.add("Clip", ["rest", g.weight("low", -1.0), g.weight("high", 3.0)], "clip")
    _enlarge(g)
    g.add("MaxPool", ["large"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    g.moved("Pad", 11, "pool", "pad", key="pads", numbers=[0, 0, 1, 1, 0, 0, 1, 1])
    _slice(g)
    g.add("Reshape", ["slice", g.weight("shape", [1, 4, 48], np.int64)], "flat")
    g.add("Softmax", ["flat"], "soft", axis=1)
    g.moved("ReduceSum", 13, "soft", "sum", key="axes", numbers=[2], keepdims=1)
    g.moved("Squeeze", 13, "sum", "thin", key="axes", numbers=[2])
    g.moved("Unsqueeze", 13, "thin", "wide", key="axes", numbers=[0])
    g.add("Flatten", ["wide"], "row")
    g.weight("gw", generator.standard_normal((4, 5)))
    g.add("Gemm", ["row", "gw", g.weight("gb", generator.standard_normal(5))], "scores")
    if opset < 10:
        g.add("TopK", ["scores"], "values", "indices", k=2)
    else:
        g.add("TopK", ["scores", g.weight("k", [2], np.int64)], "values", "indices")
    return _model(g)


def _enlarge(g: Graph) -> None:
    scales = [1.0, 1.0, 2.0, 2.0]
    if g.opset < 9:
        g.add("Upsample", ["clip"], "large", mode="nearest", scales=scales)
    elif g.opset < 11:
        op = "Upsample" if g.opset == 9 else "Resize"
        g.add(op, ["clip", g.weight("scales", scales)], "large", mode="nearest")
    else:
        g.weight("roi", np.zeros(0))
        roi = "roi" if g.opset < 13 else ""
        g.add(
            "Resize", ["clip", roi, g.weight("scales", scales)], "large", mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip


def _slice(g: Graph) -> None:
    if g.opset < 10:
        g.add("Slice", ["pad"], "slice", axes=[2, 3], starts=[1, 0], ends=[7, 8])
        return
    names = [
        g.weight(name, numbers, np.int64)
        for name, numbers in (("starts", [1, 0]), ("ends", [7, 8]), ("axes", [2, 3]))
    ]
    g.add("Slice", ["pad", *names], "slice")


def _model(g: Graph) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5]),
        helper.make_tensor_value_info("values", TensorProto.FLOAT, [1, 2]),
        helper.make_tensor_value_info("indices", TensorProto.INT64, [1, 2]),
    ]
    imports = [helper.make_opsetid("", g.opset)]
    version = helper.find_min_ir_version_for(imports)
    if version < 4:  # initialisers are inputs too
        inputs += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in g.weights]
    graph = helper.make_graph(g.nodes, "network", inputs, outputs, g.weights)
    model = helper.make_model(graph, opset_imports=imports, ir_version=version)
    onnx.checker.check_model(model)
    return model


def pictures(seed: int) -> dict[str, Array]:
    return {"x": normal(1, 3, 8, 8, seed=seed).numpy()}


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(opset: int, tmp_path: Path) -> None:
    proto, path = network(opset), tmp_path / "net.onnx"
    onnx.save_model(proto, str(path))
    try:
        want = [run(path, pictures(seed)) for seed in (1, 2)]
    except Exception as error:
        pytest.skip(f"ONNX Runtime does not run opset {opset}: {str(error)[:80]}")
    assert not np.array_equal(want[0]["scores"], want[1]["scores"])
    if opset >= 14:  # onnx's own evaluator has forgotten older forms of Softmax and others
        reference = ReferenceEvaluator(proto)
        for seed in (1, 2):
            found = reference.run(None, pictures(seed))
            assert_close(dict(zip(want[0], found, strict=True)), want[seed - 1])
    exported = modelport.export(path)
    optimized = modelport.optimize(path)
    assert exported.model.opset_imports[""] == opset
    assert modelport.optimize(path, upgrade=False).model.opset_imports[""] == opset
    assert optimized.model.opset_imports[""] == max(opset, 20)
    assert exported.signature.inputs[0].name == "x"
    assert len(exported.signature.inputs) == 1, "weights are no inputs"
    for model in (exported.model, optimized.model):
        assert not [record for record in optimized.records if record.rejected]
        for seed in (1, 2):
            assert_close(run(model, pictures(seed)), want[seed - 1])
    for engine in ("onnxruntime", "openvino"):
        if (reason := ENGINES.get(engine).available()) is not None:
            pytest.skip(reason)
        if engine == "openvino" and opset in (11, 12):
            continue  # it takes the Softmax of these two for that of opset 13
        with opened(ENGINES.get(engine), optimized.model, Target()) as session:
            assert_close(session.run(pictures(1)), want[0])


def test_passes_fold_the_batchnorm_of_every_opset() -> None:
    """It has had three forms."""
    folded = {
        opset: "BatchNormalization" not in operator_counts(
            modelport.optimize(ir.from_proto(network(opset)), check=False).model
        )
        for opset in OPSETS
    }  # fmt: skip
    assert all(folded.values()), folded


def test_initialisers_that_are_inputs_may_be_overridden(tmp_path: Path) -> None:
    proto, path = network(8), tmp_path / "net.onnx"
    assert proto.ir_version == 3
    proto.ir_version = 4  # ONNX Runtime takes the weights of IR 3 for constants, inputs or not
    onnx.save_model(proto, str(path))
    other = {
        **pictures(1),
        "gb": np.arange(5, dtype=np.float32),
        "scale": np.full(4, 2, np.float32),
    }
    want = run(path, other)
    assert not np.array_equal(want["scores"], run(path, pictures(1))["scores"])
    modelport.export(path, output=tmp_path / "as_is.onnx", optimize=False)
    assert_close(run(tmp_path / "as_is.onnx", other), want)
    assert [spec.name for spec in signature_of(io.load(path)).inputs] == ["x"]
    # Passes take weights for constants; what they leave of them may be listed again.
    modelport.export(path, output=tmp_path / "listed.onnx", initializers_as_inputs=True)
    bias = {**pictures(1), "gb": other["gb"]}
    assert_close(run(tmp_path / "listed.onnx", bias), run(path, bias))
    changed = numpy_helper.from_array(other["gb"], "gb")
    for index, tensor in enumerate(proto.graph.initializer):
        if tensor.name == "gb":
            proto.graph.initializer[index].CopyFrom(changed)
    assert_close(
        run(modelport.optimize(ir.from_proto(proto)).model, pictures(1)),
        run(path, {**pictures(1), "gb": other["gb"]}),
    )


def test_a_model_in_memory_stays_as_it_is() -> None:
    model = ir.from_proto(network(17))
    before = io.to_proto(model).SerializeToString(deterministic=True)
    made = modelport.export(model)
    assert made.exporter == ""
    assert_close(run(made.model, pictures(3)), run(network(17), pictures(3)))
    assert io.to_proto(model).SerializeToString(deterministic=True) == before


# --- external data ------------------------------------------------------------------------------


def with_external_data(folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save_model(
        network(17), str(path), save_as_external_data=True, location="w.bin", size_threshold=128
    )
    return path


@pytest.mark.parametrize("weights_in", ["inside", "outside"])
def test_external_data(weights_in: str, tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    made = tmp_path / "made" / "out.onnx"
    modelport.export(path, output=made, weights_in=weights_in)
    (tmp_path / "w.bin").unlink()
    assert_close(run(made, pictures(1)), run(network(17), pictures(1)))
    assert (
        sorted(entries(made.parent))
        == ["out.onnx", "out.onnx.data"][: 1 + (weights_in != "inside")]
    )


def test_external_data_in_a_bundle(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    bundle = modelport.deploy(
        path, output=tmp_path / "bundle", engines=["onnxruntime", "openvino"],
        precisions=["fp32"], report=False, threads=1,
    )  # fmt: skip
    (tmp_path / "w.bin").unlink()
    assert modelport.verify(bundle.path).passed
    with modelport.load(bundle.path) as predictor:
        assert_close(dict(predictor.session.run(pictures(1))), run(network(17), pictures(1)))


def test_an_optimised_file_may_replace_its_source(tmp_path: Path) -> None:
    """The weights are still mapped from the file that is written over."""
    path = with_external_data(tmp_path)
    want = run(path, pictures(1))
    for _ in range(2):
        modelport.export(path, output=path, weights_in="outside")
        assert_close(run(path, pictures(1)), want)


ROWS, WIDTH = 1 << 21, 272
"""2.1 GiB of floats: more than protobuf can hold in one message."""


def large_file(folder: Path) -> Path:
    """A table whose file is a hole but for its last row; the disk holds next to nothing."""
    table = folder / "table.bin"
    with table.open("wb") as file:
        file.truncate(ROWS * WIDTH * 4)
        file.seek((ROWS - 1) * WIDTH * 4)
        file.write(np.arange(WIDTH, dtype=np.float32).tobytes())
    weight = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[ROWS, WIDTH])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=table.name)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "row"], ["picked"]),
         helper.make_node("Identity", ["picked"], ["same"]),
         helper.make_node("Mul", ["same", "two"], ["y"])],
        "large",
        [helper.make_tensor_value_info("row", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])],
        [weight, numpy_helper.from_array(np.float32(2), "two")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "large.onnx").write_bytes(model.SerializeToString())
    return folder / "large.onnx"


def own_memory() -> int:
    """Bytes that this process alone holds; pages of mapped files are not among them."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(v.split()[1]) for v in status.splitlines() if v.startswith("RssAnon"))


def most_memory(work: Callable[[], Any]) -> int:
    """How far the memory of this process grows at most while that runs."""
    start, most, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], own_memory() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(most[0], own_memory() - start)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)
def test_a_file_over_two_gigabytes(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 8 << 30:
        pytest.skip("less than 8 GB of disk are free")
    path, made = large_file(tmp_path), tmp_path / "made.onnx"
    size = ROWS * WIDTH * 4
    try:
        grown = most_memory(lambda: modelport.export(path, output=made, check=False))
        assert grown < size // 4, f"{grown / 1e9:.2f} GB"
        assert (tmp_path / "made.onnx.data").stat().st_size >= size
        assert operator_counts(io.load(made)) == {"Gather": 1, "Mul": 1}
        for row, want in ((ROWS - 1, np.arange(WIDTH) * 2), (5, np.zeros(WIDTH))):
            (got,) = run(made, {"row": np.array([row])}).values()
            assert got[0].tolist() == want.tolist()
        with pytest.raises(UsageError, match=r"The weights take 2\.3 GB"):
            modelport.export(path, output=tmp_path / "in.onnx", weights_in="inside", check=False)
    finally:
        shutil.rmtree(tmp_path)


class WithDefaults(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(
        self, x: Tensor, flag: bool = False, shift: Tensor | None = None, times: int = 2
    ) -> Tensor:
        y = self.layer(x)
        if shift is not None:
            y = y + shift
        if flag:
            y = y * 3
        for _ in range(times):
            y = y * 1.5
        return y


@pytest.mark.parametrize("names", [["x"], ["x", "shift"]])
def test_a_script_whose_other_arguments_keep_their_defaults(
    names: list[str], tmp_path: Path
) -> None:
    """Between the tensors lie a bool and behind them a number, which no graph takes."""
    torch.manual_seed(0)
    module = WithDefaults().eval()
    with old_ways():
        torch.jit.script(module).save(str(tmp_path / "net.pt"))
    exported = modelport.export(tmp_path / "net.pt", dict.fromkeys(names, "1..4x4"))
    assert [spec.name for spec in exported.signature.inputs] == names
    assert exported.exporter == "torchscript"

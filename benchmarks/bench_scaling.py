"""How the optimiser grows: its time with the number of nodes, its memory with the size of the weights.

    scripts/bench scaling

The chain of nodes is as a plain exporter writes networks: convolutions with BatchNormalization, shape
arithmetic, constants. The transformer has 3 GB of weights in a file beside the graph. Every measurement
runs in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from harness import publish

SIZES = (100, 1_000, 10_000, 100_000)
CHECKED_MOST = 10_000
"""ONNX Runtime, which the check opens graphs with, needs more than ten minutes for the next size."""

RUNS = 3
WIDTH, LAYERS = 2048, 15
"""Twelve matrices of WIDTH x WIDTH to a layer: 50 million numbers, 0.2 GB."""


def chain(nodes: int) -> ir.Model:
    """Blocks of ten nodes, each a small network of what optimisers look for."""
    lines, weights = [], {"w": _random(8, 8, 1, 1), "n": _random(8) ** 2 + 0.5, "s": _random(8)}
    value = "x"
    for block in range(nodes // 10):
        v = f"v{block}"
        lines += [
            f"{v}a = Conv ({value}, w)",
            f"{v}b = BatchNormalization ({v}a, n, s, s, n)",
            f"{v}c = Relu ({v}b)",
            f"{v}d = Identity ({v}c)",
            f"{v}e = Shape ({v}d)",
            f"{v}f = Cast <to = 7> ({v}e)",
            f"{v}g = Reshape ({v}d, {v}f)",
            f"{v}h = Constant <value = float {{0.2}}> ()",
            f"{v}i = Mul ({v}g, {v}h)",
            f"{v}j = Add ({v}i, x)",
        ]
        value = f"{v}j"
    text = (
        '<ir_version: 10, opset_import: ["" : 20]> main (float[1,8,4,4] x) => (float[1,8,4,4] y) {\n'
        + "\n".join([*lines, f"y = Relu ({value})"])
        + "\n}"
    )
    model = ir.from_onnx_text(text)
    for name, array in weights.items():
        _add_weight(model, name, array)
    return model


def transformer() -> ir.Model:
    """Blocks of matrix products with residuals; weights are drawn when they are written."""
    lines, value, names = [], "x", []
    for layer in range(LAYERS):
        for part in range(12):
            name, out = f"w{layer}_{part}", f"h{layer}_{part}"
            names.append(name)
            lines.append(f"{out} = MatMul ({value}, {name})")
            lines.append(f"{out}_r = Relu ({out})")
            lines.append(f"{out}_i = Identity ({out}_r)")
            value = f"{out}_i"
        lines.append(f"r{layer} = Add ({value}, x)")
        lines.append(f"n{layer} = LayerNormalization (r{layer}, gain)")
        value = f"n{layer}"
    text = (
        f'<ir_version: 10, opset_import: ["" : 20]> main (float[1,4,{WIDTH}] x) => '
        f"(float[1,4,{WIDTH}] y) {{\n" + "\n".join([*lines, f"y = Relu ({value})"]) + "\n}"
    )
    model = ir.from_onnx_text(text)
    _add_weight(model, "gain", np.ones(WIDTH, np.float32))
    for seed, name in enumerate(names):
        _add_weight(model, name, _drawn(seed))
    return model


def _drawn(seed: int) -> ir.LazyTensor:
    def draw() -> ir.Tensor:
        numbers = np.random.default_rng(seed).standard_normal((WIDTH, WIDTH), np.float32)
        return ir.Tensor(numbers * np.float32(1.4 / WIDTH**0.5))

    return ir.LazyTensor(draw, dtype=ir.DataType.FLOAT, shape=ir.Shape([WIDTH, WIDTH]))


def _random(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _add_weight(model: ir.Model, name: str, data: Any) -> None:
    tensor = data if isinstance(data, ir.LazyTensor) else ir.tensor(data, name=name)
    tensor.name = name
    value = next(
        (v for node in model.graph for v in node.inputs if v is not None and v.name == name), None
    )
    if value is None:
        return
    value.const_value, value.type = tensor, ir.TensorType(tensor.dtype)
    value.shape = ir.Shape(tensor.shape)
    model.graph.register_initializer(value)


def timed(path: Path, check: bool, answer: Connection) -> None:
    """In a process of its own: seconds and nodes, and the memory on top of the imports."""
    import modelport
    from modelport.graph import io

    modelport.optimize(_tiny())  # what is imported on use
    before = _memory_mib("RssAnon")
    watch = _Watch()
    start = time.process_time()
    made = modelport.optimize(path, check=check).model
    io.save(made, path.with_name("out.onnx"))
    seconds = time.process_time() - start
    answer.send((seconds, watch.stop() - before, made.graph.num_nodes()))


def _tiny() -> ir.Model:
    return chain(10)


class _Watch:
    """The most memory of its own that this process has had: pages of mapped files do not count."""

    def __init__(self) -> None:
        import threading

        self._most, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self._most = max(self._most, _memory_mib("RssAnon"))

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._most


def _memory_mib(entry: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(entry))
    return int(line.split()[1]) / 1024


def in_child(work: Callable[..., None], *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*arguments, theirs))
    process.start()
    theirs.close()
    found = mine.recv()
    process.join()
    return found


def main() -> None:
    lines = [
        "`modelport.optimize` of a file and saving the result, in processor seconds; memory is what the "
        "process took of its own on top of its imports (pages of mapped weight files do not count). The "
        "check runs the graph in ONNX Runtime, whose time to open one grows faster than its nodes.",
        "",
        "| nodes | left | s, no check | µs a node | s, with the check | MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.onnx"
        for size in SIZES:
            ir.save(chain(size), path)
            plain = [in_child(timed, path, False) for _ in range(RUNS if size < 1e5 else 1)]
            checked = in_child(timed, path, True) if size <= CHECKED_MOST else None
            seconds = statistics.median(run[0] for run in plain)
            row = f"| {size} | {plain[0][2]} | {seconds:.2f} | {seconds / size * 1e6:.0f} | "
            told = "-" if checked is None else format(checked[0], ".2f")
            lines.append(f"{row}{told} | {(checked or plain[0])[1]:.0f} |")
            print(lines[-1], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.onnx"
        ir.save(transformer(), path, external_data="in.onnx.data")
        size = (Path(folder) / "in.onnx.data").stat().st_size / 1e9
        lines += ["", f"A transformer with {size:.1f} GB of weights beside its graph:", ""]
        lines += ["| | s | MiB of its own |", "| --- | ---: | ---: |"]
        for check, words in ((False, "no check"), (True, "with the check")):
            seconds, mib, _ = in_child(timed, path, check)
            lines.append(f"| {words} | {seconds:.1f} | {mib:.0f} |")
            print(lines[-1], flush=True)
    publish("scaling", "The optimiser on large graphs", lines)


if __name__ == "__main__":
    main()

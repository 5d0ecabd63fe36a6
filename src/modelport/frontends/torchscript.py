"""From a module to a graph by way of TorchScript: what `torch.export` cannot read, and script files.

The exporter is old and can crash, so it runs in a child process.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn
from torch.jit._trace import TracerWarning

from modelport.errors import ExportError, ModelportError, UsageError
from modelport.frontends.adapter import PREFIX
from modelport.frontends.explain import explaining, is_foreign, quiet
from modelport.frontends.finish import Job, finished
from modelport.frontends.inputs import Leaf
from modelport.frontends.isolation import in_child
from modelport.frontends.rewrites import Fired
from modelport.frontends.torch_export import capture
from modelport.graph import io, provenance

DEFAULT_OPSET = 20
OPSETS = range(9, 21)
"""What torch 2.13 writes without a warning."""


def export(job: Job, limit_s: float) -> ir.Model:
    """Exports a module, or a script, in inference mode; free sizes stay free.

    Loops and branches of scripted code become Loop and If. Those of traced code follow the example
    inputs, silently: whoever calls this must compare the result with the module.

    Raises:
        ExportError: naming the line of the user's code that stops it.
    """
    opset = job.opset or DEFAULT_OPSET
    if opset not in OPSETS:
        raise UsageError(
            f"The opset {opset} cannot be written by the TorchScript-based exporter",
            expected=f"{OPSETS.start} to {OPSETS.stop - 1}",
        )
    with job.rewritten("torchscript") as rewrites:

        def work(folder: Path) -> None:
            with explaining(job.adapter), quiet(), warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always", TracerWarning)
                _write(job, opset, folder)
            _demand_no_values_read(job, seen)
            told = [astuple(each) for each in rewrites.fired]
            (folder / _FIRED).write_text(json.dumps(told), encoding="utf-8")

        made = in_child(work, limit_s, "The TorchScript-based export")
    with made as folder:
        job.note([Fired(*each) for each in json.loads((Path(folder) / _FIRED).read_text("utf-8"))])
        model = io.load(Path(folder) / _NAME)
        io.bring_weights_to_memory(model)
    for value in [*model.graph.inputs, *model.graph.outputs]:
        value.name = (value.name or "").removeprefix(_NUMBER)
    _adopt_scopes(model, job.adapter)
    _with_all_inputs(model, job)
    return finished(model, job)


_NAME, _FIRED = "model.onnx", "fired.json"


_NUMBER = "number."
"""Goes before names that are numbers, which torch keeps for itself."""


def _legal(name: str) -> str:
    return f"{_NUMBER}{name}" if name.isdigit() else name


def _write(job: Job, opset: int, folder: Path) -> None:
    torch.set_num_threads(1)  # the threads of the parent do not exist here
    module: nn.Module = job.adapter
    if isinstance(job.adapter.module, torch.jit.ScriptModule):
        # Loops and branches survive only where a script is exported.
        module = _flat_script(job.adapter.module, *job.adapter.bound())
    with torch.no_grad():
        torch.onnx.export(
            module,
            job.examples,
            str(folder / _NAME),
            dynamo=False,
            opset_version=opset,
            input_names=[_legal(spec.name) for spec in job.specs],
            output_names=[_legal(name) for name in job.output_names],
            dynamic_axes=_dynamic_axes(job),
            do_constant_folding=False,  # ours is checked, and keeps the names of weights
            verbose=True,  # else it drops the lines of the user's code
        )


def _flat_script(
    script: torch.jit.ScriptModule, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> nn.Module:
    """A script that takes the tensors alone, and calls the user's with its other arguments."""
    names = [f"x{leaf.index}" for leaf in (*args, *kwargs.values()) if isinstance(leaf, Leaf)]

    def written(value: Any) -> str:
        return f"x{value.index}" if isinstance(value, Leaf) else repr(value)

    given = [written(value) for value in args]
    given += [f"{name}={written(value)}" for name, value in kwargs.items()]
    holder = nn.Module()
    holder.add_module(PREFIX, script)
    flat: torch.jit.ScriptModule = torch.jit.script(holder.eval())
    flat.define(
        f"def forward(self, {', '.join(f'{name}: Tensor' for name in names)}):\n"
        f"    return self.{PREFIX}({', '.join(given)})\n"
    )
    return flat


_READS = ("Converting a tensor to a", "results are registered as constants")
"""Beginnings and parts of what the tracer says where Python looks into a tensor."""


def _demand_no_values_read(job: Job, seen: Sequence[warnings.WarningMessage]) -> None:
    """A trace follows the example where Python reads values of a tensor, and nothing shows it later.

    The tracer takes sizes for tensors too and warns of both. `torch.export` knows the difference: what
    it captures without a scalar taken from a tensor reads sizes at most.
    """
    reads = [warning for warning in seen if any(word in str(warning.message) for word in _READS)]
    own = [warning for warning in reads if not is_foreign(warning.filename)] or reads
    if not own or isinstance(job.adapter.module, torch.jit.ScriptModule) or _reads_sizes_only(job):
        return
    raise ExportError(
        f"The export stops at {PurePath(own[0].filename).name}:{own[0].lineno}: Python reads the "
        "values of a tensor there, and a trace would keep those of the example",
        hint="Use torch.where for a choice of values, torch.cond for a choice of computations, or "
        "--branches join to export both ways",
    )


def _reads_sizes_only(job: Job) -> bool:
    try:
        program = capture(job.adapter, job.specs, job.examples)
    except ModelportError:
        raise  # the time is up
    except Exception:
        return False  # it reads more than sizes, or nobody knows
    return not any("_local_scalar_dense" in str(node.target) for node in program.graph.nodes)


def _with_all_inputs(model: ir.Model, job: Job) -> None:
    """Puts inputs back that the trace found no use for: callers pass them all the same."""
    known = {value.name: value for value in model.graph.inputs}
    inputs = [
        known.get(spec.name)
        or ir.Value(
            name=spec.name,
            type=ir.TensorType(ir.DataType.from_numpy(np.dtype(spec.dtype))),
            shape=ir.Shape([size if isinstance(size, int) else str(size) for size in spec.shape]),
        )
        for spec in job.specs
    ]
    model.graph.inputs.clear()
    model.graph.inputs.extend(inputs)


def _dynamic_axes(job: Job) -> dict[str, dict[int, str]] | None:
    axes = {}
    for spec in job.specs:
        free = {
            axis: getattr(size, "name", None) or f"{spec.name}_{axis}"
            for axis, size in enumerate(spec.shape)
            if not isinstance(size, int)
        }
        if free:
            axes[_legal(spec.name)] = free
    return axes or None


def _adopt_scopes(model: ir.Model, module: nn.Module) -> None:
    """Node names hold the scopes (`/model/layer1/layer1.0/conv1/Conv`), doc strings the stack."""
    known = dict(module.named_modules())
    for node in model.graph.all_nodes():
        path = _path_of((node.name or "").split("/")[1:-1], known)
        node.metadata_props[provenance.MODULE] = path
        node.metadata_props[provenance.CLASS] = _class_of(known[path])
        line = _user_line(node.doc_string or "")
        if line:
            node.metadata_props[provenance.LINE] = line
        node.doc_string = None


def _path_of(scopes: list[str], known: dict[str, nn.Module]) -> str:
    """Resolves scopes one by one: each is an attribute, or a path relative to some parent."""
    path = ""
    for scope in scopes:
        parents = [path]
        while parents[-1]:
            parents.append(parents[-1].rpartition(".")[0])
        found = (f"{parent}.{scope}".lstrip(".") for parent in parents)
        path = next((name for name in found if name in known), path)
    return path


def _class_of(module: nn.Module) -> str:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


_FRAME = re.compile(r"^(?P<file>.+)\((?P<line>\d+)\): ", re.MULTILINE)


def _user_line(trace: str) -> str | None:
    """The first frame, which is the innermost, of the user's own code."""
    for frame in _FRAME.finditer(trace):
        if not is_foreign(frame["file"]):
            return f"{PurePath(frame['file']).name}:{frame['line']}"
    return None

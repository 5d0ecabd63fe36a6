"""Which ONNX operators each engine takes: runs onnx's own node tests, one operator at a time.

    python benchmarks/operator_coverage.py [--most N] [ENGINE ...]

Writes `src/modelport/engines/<engine>/operators.json`, which `Rules.lacks` reads, for each engine
named and by default for every one that can be deployed to and is installed here; and then
`docs/operators.md` from all tables there are. An engine runs in a process of its own, because some
operators crash some engines.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnx  # noqa: TID251 - its backend tests are protos
import onnx_ir as ir
from onnx.backend.test.case.node import collect_testcases  # noqa: TID251
from operator_runs.page import page

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.engines.converting import ConvertingEngine
from modelport.engines.routes import GRAPH
from modelport.errors import GraphError, ModelportError
from modelport.types import Target

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "src" / "modelport" / "engines"
PAGE = ROOT / "docs" / "operators.md"
LIMIT_S = 30
NEWEST_IR = 10
"""Version of the file format, which engines check; operators do not depend on it."""
DEFAULT_OPSET = 20
"""What our exports write unless told otherwise."""
MOST_CASES = 40
"""For one operator; the rest are other element types and attributes of it."""
INTERFACE = re.compile(
    r"it takes inputs of float32|it gives float32 alone|blobs (are of float32|have axes)"
)
"""Engines that cannot be asked, as their inputs or outputs have other types than the test's."""

RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
          "RandomUniformLike", "Dropout"}  # fmt: skip

ALL_DOUBLE = {"CumProd", "CumSum", "Einsum"}
"""Have tests in float64, which many engines lack, and none in float32; they are made float32."""


@dataclass(frozen=True)
class Case:
    """A model of one operator, what it takes and what it must give."""

    operator: str
    domain: str
    model: onnx.ModelProto
    inputs: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    word: `right`, `wrong`, `refused`, `crashed`, or `unmeasured` where the contract of our
        sessions cannot carry its inputs or outputs.
    reason: the engine's own words where it is not right.
    old: right only under `DEFAULT_OPSET`, refused under the newer opset of the test.
    """

    word: str
    reason: str = ""
    old: bool = False


def cases(most: int = MOST_CASES) -> list[Case]:
    """Those node tests that hold one node, the plainest first: float before other element types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they divide by zero on purpose
        found = [case for case in collect_testcases(None) if _is_single(case)]
    kept: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in sorted(found, key=lambda case: (_oddity(case.model), case.name)):
        node = case.model.graph.node[0]
        domain = "" if node.domain == "ai.onnx" else node.domain
        inputs, outputs = (list(map(_array, arrays)) for arrays in case.data_sets[0])
        one = Case(node.op_type, domain, case.model, inputs, outputs)
        kept[domain, node.op_type].append(_narrowed(one) if node.op_type in ALL_DOUBLE else one)
    return [case for key in sorted(kept) for case in kept[key][:most]]


def _narrowed(case: Case) -> Case:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    inputs, outputs = (
        [data.astype(np.float32) if data.dtype == np.float64 else data for data in arrays]
        for arrays in (case.inputs, case.outputs)
    )
    return replace(case, model=model, inputs=inputs, outputs=outputs)


def _array(data: Any) -> Any:
    """Sequences and optional values stay as they are."""
    if isinstance(data, onnx.TensorProto):
        return onnx.numpy_helper.to_array(data)
    return np.asarray(data) if np.isscalar(data) else data


def _is_single(case: Any) -> bool:
    return (
        case.model is not None
        and len(case.model.graph.node) == 1
        and not case.model.functions
        and "training" not in case.model.graph.node[0].domain
    )


def _oddity(model: onnx.ModelProto) -> int:
    plain = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
    values = [*model.graph.input, *model.graph.output]
    return sum(value.type.tensor_type.elem_type not in plain for value in values)


def attempt(engine: Engine, case: Case) -> Outcome:
    """Compiles and runs a case under its own opset, and if that fails under our usual one."""
    if not _is_numeric(case.model):
        return Outcome("unmeasured")
    own = next((e.version for e in case.model.opset_import if e.domain in ("", "ai.onnx")), 0)
    newest = engine.rules.opsets[1]
    first = _with_opset(engine, case, min(own, newest))
    if first.word in ("right", "unmeasured"):
        return first
    if own > newest:  # some lower a graph themselves
        raised = _with_opset(engine, case, own)
        if raised.word == "right":
            return raised
    if min(own, newest) <= DEFAULT_OPSET:
        return first
    second = _with_opset(engine, case, DEFAULT_OPSET)
    return replace(second, old=True) if second.word == "right" else first


def _is_numeric(model: onnx.ModelProto) -> bool:
    """Our sessions carry no text, no sequences and no optional values."""
    return all(
        value.type.HasField("tensor_type")
        and value.type.tensor_type.elem_type != onnx.TensorProto.STRING
        for value in [*model.graph.input, *model.graph.output]
    )


def _with_opset(engine: Engine, case: Case, opset: int) -> Outcome:
    """With all inputs free; if that fails, with fewer, as models have most of them."""
    try:
        proto = _stamped(case, opset)
    except ValueError as error:
        return Outcome("refused", str(error))
    failed = []
    for free in _ways(case):
        outcome = _run(engine, proto, case, free)
        if outcome.word == "right":
            return outcome
        failed.append(outcome)
    return next((outcome for outcome in failed if outcome.word != "unmeasured"), failed[0])


def _ways(case: Case) -> list[frozenset[int]]:
    """Which inputs are free: all; those that are data, as sizes and axes mostly are constant; the first
    one alone, as engines want weights. None is, where all are sizes, as where a shape is filled.
    """
    arrays = [np.asarray(array) for array in case.inputs]
    data = [index for index, array in enumerate(arrays) if array.dtype.kind == "f"]
    ways = [frozenset(range(len(arrays))), frozenset(data), frozenset(data[:1]), frozenset([0])]
    ways = [way for way in dict.fromkeys(ways) if way]
    if all(array.dtype == np.int64 and array.ndim < 2 for array in arrays):
        ways.append(frozenset())
    return ways


def _stamped(case: Case, opset: int) -> onnx.ModelProto:
    """The model as one of that opset, where the operator is that old."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > opset:
            entry.version = opset
            since = None if case.domain else onnx.defs.get_schema(case.operator).since_version
            if since is not None and not onnx.defs.has(case.operator, opset):
                raise ValueError(f"it is of opset {since}, and {opset} is the newest one here")
    return proto


def _run(engine: Engine, proto: onnx.ModelProto, case: Case, free: frozenset[int]) -> Outcome:
    try:
        model = ir.from_proto(proto)
        feeds = _feeds(model, case, free)
        if not feeds:
            feeds = _with_something_to_do(model)
        with tempfile.TemporaryDirectory() as folder:
            target = Target(precision=engine.precisions[0], threads=1)  # some have no fp32
            artifact = engine.compile(model, target, Path(folder))
            with engine.load(artifact, threads=1) as session:
                outputs = session.run(feeds)
    except GraphError as error:
        return Outcome("unmeasured", str(error))
    except (ModelportError, Exception) as error:
        words = " ".join(str(error).split())
        return Outcome("unmeasured" if INTERFACE.search(words) else "refused", words)
    return _judged(case, list(outputs.values()))


def _feeds(model: ir.Model, case: Case, free: frozenset[int]) -> dict[str, Any]:
    feeds = {}
    for index, (value, data) in enumerate(zip(list(model.graph.inputs), case.inputs, strict=True)):
        if index in free:
            feeds[str(value.name)] = data
        else:
            value.const_value = ir.tensor(np.asarray(data), name=value.name)
            model.graph.inputs.remove(value)
            model.graph.register_initializer(value)
    return feeds


def _with_something_to_do(model: ir.Model) -> dict[str, Any]:
    """An input and an output beside the operator: engines take no model without."""
    shape = ir.Shape([2, 3])
    value = ir.Input("beside", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Relu", [value])
    node.outputs[0].name, node.outputs[0].shape = "beside_out", shape
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.inputs.append(value)
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])
    return {"beside": np.ones((2, 3), np.float32)}


def _judged(case: Case, outputs: Sequence[Any]) -> Outcome:
    if case.operator in RANDOM:
        return Outcome("right")
    for got, want in zip(outputs, case.outputs, strict=False):  # what was put beside comes last
        try:
            np.testing.assert_allclose(
                np.asarray(got, np.float64), np.asarray(want, np.float64), rtol=1e-2, atol=1e-3
            )
        except (AssertionError, TypeError, ValueError) as error:
            return Outcome("wrong", " ".join(str(error).split())[:200])
    return Outcome("right")


class Worker:
    """The engine in a process of its own, started again where it dies."""

    def __init__(self, name: str, all_cases: Sequence[Case]) -> None:
        self._name = name
        self._cases = all_cases
        self._start()

    def _start(self) -> None:
        # Forked, so that it need not make the cases again; this process loads no engine.
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._name, self._cases, theirs))
        self._process.start()
        theirs.close()

    def ask(self, index: int) -> Outcome:
        self._pipe.send(index)
        with contextlib.suppress(EOFError, ConnectionResetError):
            if self._pipe.poll(LIMIT_S):
                answer: Outcome = self._pipe.recv()
                return answer
        self._process.kill()
        self._process.join()
        self._start()
        return Outcome("crashed", "the process of the engine crashed or hung")

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()


def _serve(name: str, all_cases: Sequence[Case], pipe: Connection) -> None:
    engine = ENGINES.get(name)
    # What is measured may not be refused for what was measured before.
    type(engine).rules = replace(engine.rules, operators=None)
    warnings.simplefilter("ignore")
    kept = engine.one_worker() if isinstance(engine, ConvertingEngine) else contextlib.nullcontext()
    with contextlib.suppress(EOFError), kept:
        while True:
            pipe.send(attempt(engine, all_cases[pipe.recv()]))


def measure(name: str, all_cases: Sequence[Case]) -> dict[str, Any]:
    """The table of an engine: for each domain the operators it takes, and those it lacks."""
    engine = ENGINES.get(name)
    outcomes: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    worker = Worker(name, all_cases)
    try:
        for index, case in enumerate(all_cases):
            outcomes[case.domain, case.operator].append(worker.ask(index))
    finally:
        worker.close()
    kinds: dict[str, dict[str, dict[str, str]]] = {
        kind: defaultdict(dict) for kind in ("takes", "fails", "lacks")
    }
    until: dict[str, int] = {}
    for (domain, operator), tried in outcomes.items():
        measured = [outcome for outcome in tried if outcome.word != "unmeasured"]
        right = [outcome for outcome in measured if outcome.word == "right"]
        if right:
            kinds["takes"][domain][operator] = f"{len(right)}/{len(measured)}"
            if all(outcome.old for outcome in right):
                until[operator] = DEFAULT_OPSET
        elif measured:
            kind = "lacks" if _is_lacking(operator, measured) else "fails"
            kinds[kind][domain][operator] = _brief(measured[0])
    for domain, operators in _own_operators(name).items():
        kinds["takes"][domain].update(dict.fromkeys(operators, "listed"))
    return {
        "engine": name,
        "version": engine.version(),
        "date": datetime.date.today().isoformat(),
        "onnx": onnx.__version__,
        **{
            kind: {domain: found[domain] for domain in sorted(found)}
            for kind, found in kinds.items()
        },
        "until": until,
    }


LACKING = (
    r"it (lacks|cannot translate) ([\w., ]+, )?{0}\b",
    r"Caffe has none for {0} in [^:]*: no layer of",
    r"does not know ([\w., ]+, )?{0}\b",
    r"(has no kernel|Could not find an implementation) for ([\w., ]+, )?{0}\b",
    r"No conversion rule found for operations: .*?\b{0}-",
    r"Unimplemented\({0}\)",
    r"{0}(\(-?\d+\))? is not a registered function/op",
    r"Unsupported op(erator)?:? '?{0}\b",
    r"it is of opset \d+, and \d+ is the newest",
)
"""How engines say that they have no such operator in any form, as which it is refused beforehand."""


def _is_lacking(operator: str, measured: Sequence[Outcome]) -> bool:
    """Whether the engine has no such operator at all, or dies of it: not only this or that form of it."""
    patterns = [pattern.format(re.escape(operator)) for pattern in LACKING]
    return all(
        outcome.word == "crashed"
        or (outcome.word == "refused" and any(re.search(each, outcome.reason) for each in patterns))
        for outcome in measured
    )


def _own_operators(name: str) -> dict[str, list[str]]:
    """Operators of domains of the engine's own, which onnx has no tests for."""
    if name != "onnxruntime":
        return {}
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels = state.get_all_opkernel_def()
    return {"com.microsoft": sorted({k.op_name for k in kernels if k.domain == "com.microsoft"})}


def _brief(outcome: Outcome) -> str:
    if outcome.word == "wrong":
        return f"it gives wrong results ({outcome.reason[:80]})"
    words = re.sub(r"^[\w-]+ failed while [\w ]+: ", "", outcome.reason)
    words = re.sub(
        r"\x1b\[[\d;]*m|\d{4}-\d\d-\d\d [\d:.]+ ", "", words
    )  # colours and times of logs
    words = re.sub(
        r" (Choose another|Choose other|Compose it|Compose what|Run first).*$", "", words
    )
    found = re.search(
        r"(No conversion rule found[^\n]*?|Could not find an impl[^\n]*?)(\.|$)", words
    )
    words = found[1] if found else re.sub(r"(Load model from )?/tmp/\S+( failed:)?", "", words)
    return words if len(words) <= 160 else f"{words[:159]}…"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE")
    parser.add_argument("--most", type=int, default=MOST_CASES, help="tests for one operator")
    arguments = parser.parse_args()
    os.environ["MODELPORT_CACHE_BYTES"] = (
        "0"  # thousands of tiny artifacts would drive out the rest
    )
    wanted = arguments.engines or [
        name
        for name in ENGINES
        if ENGINES.get(name).deployable and not ENGINES.get(name).available()
    ]
    all_cases = cases(arguments.most)
    print(f"{len(all_cases)} cases")
    for name in wanted:
        if GRAPH not in ENGINES.get(name).routes:
            print(f"{name} takes no graphs")
            continue
        if reason := ENGINES.get(name).cannot_run():
            print(f"{name} cannot be measured: {reason}")  # that something compiled is no result
            continue
        table = measure(name, all_cases)
        file = FOLDER / name.replace("-", "_") / "operators.json"
        file.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        counts = {
            key: {d: len(v) for d, v in table[key].items()} for key in ("takes", "fails", "lacks")
        }
        print(file, counts)
    tables = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*/operators.json"))]
    PAGE.write_text(page(tables, MOST_CASES), encoding="utf-8")


if __name__ == "__main__":
    main()

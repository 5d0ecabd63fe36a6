"""Passes are run verified: the one that changes results is found, left out and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from helpers import by_reference, graph, weight

from modelport.engines import ENGINES
from modelport.errors import EngineError, SourceError, UsageError, VerificationError
from modelport.feeds import random_feeds
from modelport.graph import io
from modelport.graph.query import operator_counts, signature_of
from modelport.optimization import Optimized, optimize, probe_with, run_verified
from modelport.passes import PASSES
from modelport.passes.base import GraphPass, Refusal
from modelport.passes.pipelines import PORTABLE, portable
from modelport.types import Feeds, Outputs


def model() -> ir.Model:
    """Two convolutions, an Identity, a BatchNorm, and a node that no output needs."""
    return graph(
        """
        a = Conv<pads = [1, 1, 1, 1]>(x, first)
        b = Identity(a)
        c = BatchNormalization(b, scale, shift, average, variance)
        d = Relu(c)
        unused = Neg(d)
        y = Conv(d, second)
        """,
        takes="float[1, 3, 8, 8] x",
        gives="float[1, 2, 6, 6] y",
        first=weight(4, 3, 3, 3, seed=1),
        second=weight(2, 4, 3, 3, seed=2),
        scale=np.array([1.0, 1.5, 0.5, 2.0], np.float32),
        shift=np.array([0.1, -0.2, 0.3, 0.0], np.float32),
        average=np.array([0.0, 0.5, -0.5, 1.0], np.float32),
        variance=np.array([1.0, 2.0, 0.5, 1.5], np.float32),
    )


def feeds_of(model: ir.Model) -> list[Feeds]:
    return [random_feeds(signature_of(model), seed) for seed in (1, 2)]


def verified(passes: list[GraphPass], source: ir.Model | None = None) -> Optimized:
    source = source or model()
    return run_verified(source, passes, probe_with(feeds_of(source)), signature_of(source))


def assert_equal_results(before: ir.Model, after: ir.Model) -> None:
    for feeds in feeds_of(before):
        want, got = by_reference(before, feeds), by_reference(after, feeds)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-4)


class _Wrong(GraphPass):
    """A pass that does something to the first node of a kind, once."""

    name = "wrong"
    summary = "breaks something"

    def __init__(self, damage: Callable[[ir.Model], None], op_type: str = "Relu") -> None:
        super().__init__()
        self._damage, self._op_type = damage, op_type

    def apply(self, model: ir.Model) -> bool:
        if not any(node.op_type == self._op_type for node in model.graph):
            return False
        self._damage(model)
        return True


def relu_to_tanh(model: ir.Model) -> None:
    next(node for node in model.graph if node.op_type == "Relu").op_type = "Tanh"


def relu_to_nonsense(model: ir.Model) -> None:
    next(node for node in model.graph if node.op_type == "Relu").op_type = "NoSuchOperator"


def give_two_values_one_name(model: ir.Model) -> None:
    first, second = (node.outputs[0] for node in list(model.graph)[:2])
    first.name = second.name = "twice"


def put_last_node_first(model: ir.Model) -> None:
    nodes = list(model.graph)
    model.graph.remove(nodes[-1])
    model.graph.insert_before(nodes[0], nodes[-1])


def fail(model: ir.Model) -> None:
    raise RuntimeError("the pass has a mistake")


def scaled_weights(model: ir.Model) -> None:
    """Wrong by a hair: one part in a hundred."""
    value = model.graph.initializers["second"]
    assert value.const_value is not None
    array = value.const_value.numpy()
    value.const_value = ir.Tensor((array * np.float32(1.01)).astype(np.float32), name="second")


# --- good passes --------------------------------------------------------------------------------


def test_good_passes_need_one_comparison() -> None:
    source = model()
    calls = 0
    probe = probe_with(feeds_of(source))

    def counting(graph: ir.Model) -> list[Outputs]:
        nonlocal calls
        calls += 1
        return probe(graph)

    optimized = run_verified(source, portable(), counting, signature_of(source))
    assert calls == 2  # the model as it was, and the result
    assert optimized.checked
    assert operator_counts(optimized.model) == {"Conv": 2, "Relu": 1}
    assert_equal_results(source, optimized.model)


def test_source_stays_as_it_is() -> None:
    source = model()
    before = io.to_proto(source).SerializeToString(deterministic=True)
    verified(portable(), source)
    optimize(source)
    optimize(source, check=False)
    assert io.to_proto(source).SerializeToString(deterministic=True) == before


def test_records_say_what_each_pass_did() -> None:
    records = {record.name: record for record in verified(portable()).records}
    assert list(records) == [name for name, _ in PORTABLE]
    assert records["remove_identities"].changed
    assert records["remove_identities"].removed_nodes == 1
    assert records["fold_batchnorm"].changed
    assert records["remove_unused"].removed_nodes == 1
    assert not records["share_initializers"].changed
    assert not any(record.rejected for record in records.values())


def test_records_keep_the_refusals() -> None:
    source = graph(
        "a = Conv(x, w)\nb = BatchNormalization(a, scale, shift, average, variance)\ny = Add(a, b)",
        takes="float[1, 2, 4, 4] x",
        gives="float[1, 2, 4, 4] y",
        w=weight(2, 2, 1, 1),
        scale=np.ones(2, np.float32),
        shift=np.zeros(2, np.float32),
        average=np.zeros(2, np.float32),
        variance=np.ones(2, np.float32),
    )
    records = {record.name: record for record in verified(portable(), source).records}
    (refusal,) = records["fold_batchnorm"].refusals
    assert isinstance(refusal, Refusal)
    assert refusal.reason
    assert records["fold_batchnorm"].to_json()["refusals"] == [vars(refusal)]


# --- a bad pass among them ----------------------------------------------------------------------

FAULTS: list[tuple[Callable[[ir.Model], None], str]] = [
    (relu_to_tanh, "it changed the results: y: "),
    (scaled_weights, "it changed the results: y: "),
    (relu_to_nonsense, "the model no longer runs: onnxruntime failed while loading"),
    (give_two_values_one_name, "it broke the graph: "),
    (put_last_node_first, "it broke the graph: "),
    (fail, "it broke the graph: "),
]


@pytest.mark.parametrize("place", [0, 3, len(PORTABLE)], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    ("damage", "reason"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_bad_pass_is_found_left_out_and_named(
    damage: Callable[[ir.Model], None], reason: str, place: int
) -> None:
    source = model()
    passes = portable()
    passes.insert(place, _Wrong(damage))
    optimized = verified(passes, source)
    records = {record.name: record for record in optimized.records}
    assert records["wrong"].rejected is not None
    assert records["wrong"].rejected.startswith(reason), records["wrong"].rejected
    assert not records["wrong"].changed
    assert [name for name, record in records.items() if record.rejected] == ["wrong"]
    assert operator_counts(optimized.model) == {"Conv": 2, "Relu": 1}, "the others must have run"
    assert_equal_results(source, optimized.model)


def test_what_the_pass_raised_reaches_the_record() -> None:
    optimized = verified([*portable(), _Wrong(fail)])
    assert "the pass has a mistake" in (optimized.records[-1].rejected or "")


def test_two_bad_passes_are_both_found() -> None:
    first, second = _Wrong(relu_to_tanh), _Wrong(fail)
    second.name = "second"  # type: ignore[misc]
    optimized = verified([first, *portable(), second])
    records = {record.name: record for record in optimized.records}
    assert {name for name, record in records.items() if record.rejected} == {"wrong", "second"}
    assert operator_counts(optimized.model) == {"Conv": 2, "Relu": 1}


def test_a_pass_that_goes_wrong_only_after_another_is_found() -> None:
    """Alone it does nothing: only when the BatchNorm is gone does it strike."""

    class Lurking(_Wrong):
        def apply(self, model: ir.Model) -> bool:
            if any(node.op_type == "BatchNormalization" for node in model.graph):
                return False
            return super().apply(model)

    optimized = verified([Lurking(relu_to_tanh), *portable()])
    records = {record.name: record for record in optimized.records}
    assert records["wrong"].rejected
    assert records["fold_batchnorm"].changed
    assert records["fold_batchnorm"].rejected is None


def test_a_model_that_does_not_agree_with_itself_is_an_error() -> None:
    source = model()
    numbers: Iterator[int] = iter(range(1000))

    def restless(graph: ir.Model) -> list[Outputs]:
        return [{"y": np.full((1, 2, 6, 6), next(numbers), np.float32)}]

    with pytest.raises(VerificationError) as caught:
        run_verified(source, portable(), restless, signature_of(source))
    assert "running the model twice does not agree" in str(caught.value)
    assert "random operations" in str(caught.value)


def test_results_that_are_not_finite_cannot_be_checked() -> None:
    source = graph("y = Log(x)", takes="float[1, 8] x", gives="float[1, 8] y")
    with pytest.raises(VerificationError, match="NaN or infinite, so nothing can be compared"):
        optimize(source)
    assert not optimize(source, check=False).checked


# --- optimize -----------------------------------------------------------------------------------


def test_optimize_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    io.save(model(), path)
    for source in (path, str(path)):
        optimized = optimize(source)
        assert optimized.checked
        assert operator_counts(optimized.model) == {"Conv": 2, "Relu": 1}


def test_optimize_without_a_check_says_so() -> None:
    optimized = optimize(model(), check=False)
    assert not optimized.checked
    assert operator_counts(optimized.model) == {"Conv": 2, "Relu": 1}
    assert [record.name for record in optimized.records] == [name for name, _ in PORTABLE]


def test_optimize_takes_feeds_of_the_user() -> None:
    assert optimize(model(), feeds=[{"x": np.zeros((1, 3, 8, 8), np.float32)}]).checked


def test_optimize_refuses_no_feeds_and_no_file() -> None:
    with pytest.raises(UsageError, match="no feeds"):
        optimize(model(), feeds=[])
    with pytest.raises(SourceError, match="There is no file"):
        optimize("nowhere.onnx")


def test_a_source_that_does_not_run_is_an_engine_error() -> None:
    source = graph("y = custom.Mystery(x)", takes="float[1] x", gives="float[1] y")
    with pytest.raises(EngineError, match="onnxruntime failed while loading"):
        optimize(source)


def test_probe_uses_onnxruntime_and_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ENGINES.get("onnxruntime")
    closed = []
    open_in_memory = engine.open_in_memory

    def spying(*arguments: object) -> object:
        session = open_in_memory(*arguments)  # type: ignore[arg-type]
        assert session is not None
        close = session.close
        monkeypatch.setattr(session, "close", lambda: (closed.append(1), close()))
        return session

    monkeypatch.setattr(engine, "open_in_memory", spying)
    probe_with(feeds_of(model()))(model())
    assert closed == [1]


def test_portable_passes_exist() -> None:
    assert {name for name, _ in PORTABLE} <= set(PASSES)


def test_the_opset_stays_where_the_user_says_so() -> None:
    old = graph("y = Relu (x)", takes="float[4] x", gives="float[4] y", opset=13)
    assert optimize(old).model.opset_imports[""] == 20
    assert optimize(old, upgrade=False).model.opset_imports[""] == 13

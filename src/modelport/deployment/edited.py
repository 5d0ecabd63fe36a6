"""A source after the edits that the user asked for, proved to answer as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

import onnx_ir as ir

from modelport.deployment.edits import EDITS, Draft, Edit, Edited
from modelport.deployment.edits.base import same
from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.engines.scratch import opened
from modelport.errors import UsageError, VerificationError
from modelport.feeds import random_feeds, random_other_sizes
from modelport.frontends.source import LoadedSource
from modelport.graph import invariants
from modelport.graph.query import signature_of
from modelport.types import Feeds, Outputs, Signature, Target
from modelport.verify.compare import compare, run_all

SEEDS = (1, 2)


class EditedSource(LoadedSource):
    """What an edit made of a loaded source.

    The source itself stays the oracle where it gives the same outputs; where it does not, the edited
    graph speaks for it, which has been proved against it.
    """

    def __init__(self, loaded: LoadedSource, graph: ir.Model, made: Edited) -> None:
        self.source, self.options = made.draft.source, loaded.options
        self.name, self.notes, self.fired = loaded.name, loaded.notes, loaded.fired
        self._before, self._graph_before, self._made = loaded, graph, made

    def to_graph(self, exporter: str | None = None) -> ir.Model:
        return self._made.draft.model

    def oracle(self, graph: ir.Model) -> Session:
        signature = signature_of(self._made.draft.model)
        if self._made.outputs is not same:
            return _Through(signature, opened(ENGINES.get("onnxruntime"), graph, Target()), same)
        return _Through(signature, self._before.oracle(self._graph_before), self._made.feeds)

    def example_feeds(self, seed: int) -> Feeds:
        return random_feeds(signature_of(self._made.draft.model), seed)

    def other_sizes(self, seed: int) -> list[Feeds]:
        return random_other_sizes(signature_of(self._made.draft.model).inputs, seed)


class _Through(Session):
    """Runs another session on feeds that are made from its own."""

    def __init__(
        self,
        signature: Signature,
        inner: AbstractContextManager[Session],
        feeds: Callable[[Feeds], Feeds],
    ) -> None:
        super().__init__(signature, "onnxruntime")
        self._stack = ExitStack()
        self._inner = self._stack.enter_context(inner)
        self._feeds = feeds

    def _run(self, feeds: Feeds) -> Outputs:
        return self._inner.run(self._feeds(feeds))

    def _close(self) -> None:
        self._stack.close()


def edited(loaded: LoadedSource, graph: ir.Model, names: Sequence[str]) -> LoadedSource:
    """The source with the edits of those names, in that order; the graph stays as it is.

    Raises:
        UnknownNameError: where there is no such edit.
        UsageError: where one cannot be done; the message says why.
        VerificationError: where an edit changes the answers.
    """
    for edit in [EDITS.get(name) for name in names]:
        loaded, graph = _edited(loaded, graph, edit)
    return loaded


def _edited(loaded: LoadedSource, graph: ir.Model, edit: Edit) -> tuple[LoadedSource, ir.Model]:
    draft = Draft(graph.clone(), loaded.source)
    reason = edit.refuses(draft)
    if reason is not None:
        raise UsageError(f"The edit {edit.name} cannot be done: {reason}", hint="Leave it out")
    made = edit.apply(draft)
    invariants.check(made.draft.model)
    after = EditedSource(loaded, graph, made)
    feeds = [after.example_feeds(seed) for seed in SEEDS] + after.other_sizes(SEEDS[-1] + 1)
    before = [made.feeds(feed) for feed in feeds]
    want, got = _outputs(graph, before), _outputs(made.draft.model, feeds)
    restored = [made.outputs(outputs) for outputs in got]
    fidelity = compare(want, restored, signature_of(graph), "fp32", classes=False)
    if not fidelity.passed:
        raise VerificationError(
            f"The edit {edit.name} changes the answers: {'; '.join(fidelity.reasons)}",
            hint="Leave it out, and report the model",
        )
    loaded.notes.append(f"edited: {edit.summary}")
    return after, made.draft.model


def _outputs(model: ir.Model, feeds: Sequence[Feeds]) -> list[Outputs]:
    with opened(ENGINES.get("onnxruntime"), model, Target()) as session:
        return run_all(session, feeds)

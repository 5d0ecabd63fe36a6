"""Edits an ONNX file or graph, and checks that what has become of it still runs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.errors import GraphError, ModelportError
from modelport.feeds import random_feeds, random_other_sizes
from modelport.graph import io, operators, provenance, recipe
from modelport.graph.diff import Difference, diff
from modelport.graph.query import signature_of
from modelport.types import Feeds, Target


@dataclass(frozen=True)
class Edited:
    """Attributes:
    model: the edited graph.
    difference: from the graph that was given.
    sizes: how many sizes of inputs it was run at.
    note: why it was not run, where it was not.
    """

    model: ir.Model
    edits: Sequence[recipe.Edit]
    difference: Difference
    sizes: int
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "edits": [each.to_json() for each in self.edits],
            "difference": self.difference.to_json(),
            "sizes": self.sizes,
            "note": self.note,
        }


def edit(
    source: str | Path | ir.Model, edits: Sequence[recipe.Edit], *, check: bool = True
) -> Edited:
    """Applies edits, all or none; the original stays as it is.

    Args:
        source: an ONNX file, or a graph.
        edits: see `modelport.graph.recipe`.
        check: whether to run the result in ONNX Runtime on random feeds; also at other sizes where an edit
            changed those of an input.

    Raises:
        ModelportError: for the first edit that cannot be done.
        GraphError: where the result breaks a rule of ONNX, or does not run; it names node and module.
    """
    model = io.load(Path(source)) if isinstance(source, (str, Path)) else source
    if isinstance(source, (str, Path)):
        provenance.adopt_torch_metadata(model)
    made = recipe.apply(model, edits)
    difference = diff(model, made)
    if not check:
        return Edited(made, edits, difference, 0, "it was not run")
    feeds = _feeds(made, resized=any(each.operation == "set_input" for each in edits))
    problem = _problem(made, feeds)
    if problem is None:
        return Edited(made, edits, difference, len(feeds))
    if _problem(model, [random_feeds(signature_of(model), 0)]) is not None:
        note = "it was not run: ONNX Runtime does not run the original either"
        return Edited(made, edits, difference, 0, note)
    raise problem


def _feeds(model: ir.Model, *, resized: bool) -> list[Feeds]:
    signature = signature_of(model)
    others = random_other_sizes(signature.inputs, 1, most=2) if resized else []
    return [random_feeds(signature, 0), *others]


_NODE = "modelport_node_"


def _problem(model: ir.Model, feeds: Sequence[Feeds]) -> GraphError | None:
    """What ONNX Runtime says against the model, or None."""
    named, sizes = model.clone(), ""
    operators.inherit(named, model)
    for number, node in enumerate(named.graph.all_nodes()):
        node.name = f"{_NODE}{number}"  # names may be missing, and need not be unique
    try:
        with _opened(named) as session:
            for feed in feeds:
                sizes = ", ".join(f"{n}={'x'.join(map(str, a.shape))}" for n, a in feed.items())
                session.run(feed)
    except ModelportError as error:
        return _explained(model, f" at {sizes}" if sizes else "", error)
    return None


@contextmanager
def _opened(model: ir.Model) -> Iterator[Session]:
    """A session without the engine's optimiser, whose fused nodes have no names to tell."""
    engine = ENGINES.get("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        artifact = engine.compile(model, Target(), Path(folder))
        plain = replace(artifact, options={**artifact.options, "optimize": False})
        with engine.load(plain) as session:
            yield session


def _explained(model: ir.Model, sizes: str, error: ModelportError) -> GraphError:
    """The engine's words, with the names that the user knows."""
    nodes = list(model.graph.all_nodes())
    found = re.search(rf"{_NODE}(\d+)", str(error.__cause__ or error.seen))
    node = nodes[int(found[1])] if found else None
    words = re.sub(rf"{_NODE}(\d+)", lambda match: nodes[int(match[1])].name or "", error.seen)
    target = node.inputs[1] if node is not None and len(node.inputs) > 1 else None
    hint = "Undo the edit that leads there, or pass --no-check"
    if node is not None and node.op_type == "Reshape" and target is not None:
        hint = (
            f"The shape {target.name!r} fixes a size that is free now: set it with set_weight, 0 to "
            "keep a size and -1 for what is left"
        )
    return GraphError(
        f"The edited graph does not run{sizes}: {words}",
        hint=hint,
        module_path=None if node is None else provenance.module_of(node) or None,
    )

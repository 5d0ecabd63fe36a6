"""From sightings on several inputs to findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from modelport.frontends.preflight.finding import Finding, Severity, finding
from modelport.frontends.preflight.modes import batch_statistics
from modelport.frontends.preflight.places import is_own
from modelport.frontends.preflight.runs import Run
from modelport.frontends.preflight.watch import Sighting

_SEEN = {
    "branch": "The values of a tensor decide here ({name})",
    "item": "A tensor becomes Python numbers ({name})",
    "python-number": "A tensor becomes a Python number ({name})",
    "numpy": "A tensor leaves for numpy ({name})",
}
_SUGGESTION = {
    "branch": "Use torch.where for a choice of values, torch.cond for a choice of computations",
    "item": "Leave it a tensor: torch operations take it where a number stands",
    "python-number": "Leave it a tensor: use to(dtype) for the kind, and tensor indices",
    "numpy": "Use the torch operation of the same name",
}
_STATIC_KINDS = frozenset(_SEEN)
_KEPT = "an exporter that traces keeps that value for good"


def conversion_findings(runs: Sequence[Run], exported: bool) -> Iterator[Finding]:
    """Args:
    runs: on the example and on other inputs.
    exported: whether torch.export got through; what it followed is no error any more.
    """
    for group in _grouped(runs):
        first = next(sightings[0] for sightings in group if sightings)
        moves = _moves([[each.value for each in sightings] for sightings in group if sightings])
        if first.kind in _STATIC_KINDS:
            yield from _left(first, moves, exported)
        elif first.kind == "created" and moves:
            yield _created(first, exported)
        elif first.kind == "size-loop" and moves:
            yield _loop(first)
        elif first.kind == "shape-edit":
            yield _edit(first)
        elif first.kind == "train-mode":
            yield _forced(first)
        elif first.kind == "batch-statistics":
            yield batch_statistics(first.place)


def _grouped(runs: Sequence[Run]) -> Iterator[list[list[Sighting]]]:
    """For every place and call: what was seen there in each run."""
    groups: dict[Any, list[list[Sighting]]] = defaultdict(lambda: [[] for _ in runs])
    for index, run in enumerate(runs):
        for each in run.sightings:
            groups[each.kind, each.name, each.place][index].append(each)
    return iter(groups.values())


def _moves(values: Sequence[Sequence[Any]]) -> bool:
    return any(not _equal(values[0], other) for other in values[1:])


def _equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(_same, one, other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other) or (one != one and other != other)


def _left(first: Sighting, moves: bool, exported: bool) -> Iterator[Finding]:
    """A line of a library that torch.export gets past is made for it; there is nothing to say."""
    if exported and not is_own(first.place.file or ""):
        return
    severity: Severity = "error" if moves and not exported else "warning"
    if exported:
        tail = "torch.export follows it; the TorchScript-based exporter would keep one value"
    elif moves:
        tail = f"otherwise on other inputs; {_KEPT}"
    else:
        tail = f"in the same way on all inputs; {_KEPT}, and torch.export stops"
    seen = _SEEN[first.kind].format(name=first.name)
    yield finding(first.kind, severity, f"{seen}, {tail}", _SUGGESTION[first.kind], first.place)


def _created(first: Sighting, exported: bool) -> Finding:
    severity: Severity = "warning" if exported else "error"
    return finding(
        "numpy" if first.name == "from_numpy" else "python-number",
        severity,
        f"torch.{first.name} makes a tensor of Python values that are others on other inputs",
        "Compute it with torch operations from the input; take sizes from x.shape as they are, "
        "x.new_full((), x.shape[0]) say",
        first.place,
    )


def _loop(first: Sighting) -> Finding:
    return finding(
        "size-loop",
        "warning",
        "A Python loop runs over a dimension whose size varies",
        "Work on the whole tensor at once: an export unrolls the loop for one size",
        first.place,
    )


def _edit(first: Sighting) -> Finding:
    call = "assigning to .data" if first.name == "data" else f"{first.name}()"
    plain = first.name.rstrip("_")
    return finding(
        "shape-edit",
        "warning",
        f"The shape of a tensor is edited in place by {call}",
        f"Take the result of {plain}() instead"
        if first.name not in ("data", "set_", "resize_", "resize_as_")
        else "Make a new tensor with reshape() or view()",
        first.place,
    )


def _forced(first: Sighting) -> Finding:
    return finding(
        "train-mode",
        "error",
        f"{first.name} is told to train, whatever the mode of the module",
        "Pass training=self.training, or use the layer of that name",
        first.place,
    )

"""Several feeds in as few runs as the signature allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from modelport.types import Dim, Feeds, Outputs, Signature, TensorSpec


class Runs(Protocol):
    signature: Signature

    def run(self, feeds: Feeds) -> Outputs: ...


def batched(session: Runs, many: Sequence[Feeds]) -> list[Outputs]:
    """The outputs of each feed, in their order; feeds whose other sizes differ are not joined."""
    axis = batch_axis(session.signature)
    if axis is None:
        return [session.run(feeds) for feeds in many]
    for feeds in many:
        session.signature.check(feeds)
    results: list[Outputs] = []
    for group in _groups(many, axis.maximum):
        results += _joined(session, group) if len(group) > 1 else [session.run(group[0])]
    return results


def batch_axis(signature: Signature) -> Dim | None:
    """The dimension that counts samples: first and free in every input and output, and one in all."""
    firsts = [_first(spec) for spec in (*signature.inputs, *signature.outputs)]
    if not firsts or any(not isinstance(first, Dim) for first in firsts):
        return None
    given = {first for first in firsts[: len(signature.inputs)] if isinstance(first, Dim)}
    one = next(iter(given))
    return one if len(given) == 1 and (one.name or len(signature.inputs) == 1) else None


def _first(spec: TensorSpec) -> int | Dim | None:
    return spec.shape[0] if spec.shape else None


def _groups(many: Sequence[Feeds], most: int | None) -> Iterator[list[Feeds]]:
    group: list[Feeds] = []
    for feeds in many:
        together = sum(_count(one) for one in group) + _count(feeds)
        if group and (not _alike(group[0], feeds) or (most is not None and together > most)):
            yield group
            group = []
        group.append(feeds)
    if group:
        yield group


def _count(feeds: Feeds) -> int:
    return int(next(iter(feeds.values())).shape[0])


def _alike(one: Feeds, other: Feeds) -> bool:
    return all(other[name].shape[1:] == array.shape[1:] for name, array in one.items())


def _joined(session: Runs, group: Sequence[Feeds]) -> list[Outputs]:
    counts = [_count(feeds) for feeds in group]
    outputs = session.run(
        {name: np.concatenate([feeds[name] for feeds in group]) for name in group[0]}
    )
    if any(len(array) != sum(counts) for array in outputs.values()):  # not one row to a sample
        return [session.run(feeds) for feeds in group]
    ends = np.cumsum(counts)[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: part[i].copy() for name, part in parts.items()} for i in range(len(group))]

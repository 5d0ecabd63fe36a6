"""Which passes run, in which order, and why in that order."""

from __future__ import annotations

from modelport.passes import PASSES
from modelport.passes.base import GraphPass

PORTABLE: tuple[tuple[str, str], ...] = (
    ("separate_initializers", "a weight that a caller may replace is no constant to anyone"),
    ("infer_shapes", "folding Shape and CastLike needs shapes and element types"),
    ("lift_constants", "later passes look for constants among the initializers alone"),
    ("remove_identities", "patterns should not have to step over nodes that do nothing"),
    ("fold_constants", "exporters hide weights and biases behind CastLike, Expand and Shape"),
    ("split_sequences", "engines know Split better than sequences; wants folded sizes"),
    ("fold_batchnorm", "wants the biases that folding has uncovered"),
    ("share_initializers", "after folding, when equal weights have become visible"),
    ("remove_unused", "last: it collects what the others left behind"),
)
"""Safe for every engine: nothing here removes a pattern that an engine would fuse itself."""


LEGALIZING: tuple[str, ...] = ("inline_functions",)
"""For engines that do not take everything; run where an engine's rules ask for them."""


def portable() -> list[GraphPass]:
    """The portable passes; those of other packages come just before the last.

    Built-in passes that are not listed run only when they are asked for: by an engine's rules, or by
    name.
    """
    own = [name for name, _ in PORTABLE]
    return [PASSES.get(name) for name in [*own[:-1], *PASSES.external(), own[-1]]]

"""Which passes run, in which order, and why in that order."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from modelport.graph.scope import nodes_of
from modelport.passes import PASSES
from modelport.passes.base import GraphPass

PORTABLE: tuple[tuple[str, str], ...] = (
    ("separate_initializers", "a weight that a caller may replace is no constant to anyone"),
    ("infer_shapes", "folding Shape and CastLike needs shapes and element types"),
    ("lift_constants", "later passes look for constants among the initializers alone"),
    (
        "upgrade_opset",
        "OpenVINO takes Softmax of opset 12 for that of 13; fusions need new operators",
    ),
    ("remove_identities", "patterns should not have to step over nodes that do nothing"),
    ("fold_shapes", "targets of Reshape are computed in the graph; wants the shapes inferred"),
    ("fold_constants", "exporters hide weights and biases behind CastLike, Expand and Shape"),
    ("resolve_branches", "a condition on sizes is a constant by now"),
    ("reshape_gathers", "before passes that know Reshape; wants indices that are constants"),
    ("remove_noops", "what does nothing for its sizes and numbers, once these are folded"),
    (
        "remove_softmax_guards",
        "asks which numbers masks are made of, once these are folded; ONNX Runtime 1.4 x, OpenVINO 1.1 x",
    ),
    ("merge_casts", "casts back and forth; a pattern should see the value itself"),
    ("merge_transposes", "exporters write one after the other"),
    ("push_transposes", "wants those in a row merged; what cancels is copied nowhere"),
    ("merge_reshapes", "views of views; wants targets that are constants"),
    ("share_expressions", "before patterns that want a value to have one reader"),
    ("split_sequences", "engines know Split better than sequences; wants folded sizes"),
    ("fuse_gelu", "before affine folding takes it apart; ONNX Runtime 1 to 2.9 x, OpenVINO equal"),
    (
        "fuse_hardswish",
        "likewise, and before HardSigmoid; ONNX Runtime 1.2 to 1.9 x, OpenVINO equal",
    ),
    (
        "fuse_instancenorm",
        "before LayerNormalization, which is less; ONNX Runtime 3.7 x, OpenVINO equal",
    ),
    ("fuse_layernorm", "ONNX Runtime 1 to 2.0 x, OpenVINO equal"),
    ("fuse_rmsnorm", "before its root is rewritten; ONNX Runtime 2.6 x, OpenVINO equal"),
    ("divide_by_root", "for opsets without RMSNormalization; ONNX Runtime 2.6 x, OpenVINO equal"),
    ("fold_pad", "a convolution with its own pads is one that others can be merged with"),
    ("keep_pad", "after it: of a Pad that stays, ONNX Runtime would make a pool of other results"),
    ("fuse_matmul_add", "Gemm has a bias, where folding may put numbers"),
    ("fold_gemm_scales", "engines multiply once less"),
    (
        "fold_affine",
        "after the fusions that it would take apart; bares what BatchNormalization follows",
    ),
    ("fold_batchnorm", "wants the biases that folding has uncovered"),
    ("fold_batchnorm_forward", "takes only what no linear operator before it could"),
    ("fold_focus", "normalisation between slices and convolution is gone by now"),
    ("merge_branches", "after all other folding: a branch is a convolution alone by now"),
    ("share_initializers", "after folding, when equal weights have become visible"),
    ("remove_unused", "last: it collects what the others left behind"),
)
"""Safe for every engine: nothing here removes a pattern that an engine would fuse itself.

How many times as fast a fusion makes an engine is measured in `benchmarks/results/fusions.md`; one that
slows any engine down is not here.
"""


PER_ENGINE: dict[str, tuple[tuple[str, str], ...]] = {
    "onnxruntime": (
        (
            "fuse_hardsigmoid",
            "1.2 to 2.9 x; OpenVINO fuses the nodes with a convolution, not the one",
        ),
        ("fuse_channelnorm", "1.9 x, though it adds two Transposes; OpenVINO 0.5 x"),
        ("decompose_groupnorm", "2.0 x: it has no kernel for it, and its own expansion is long"),
        ("decompose_swish", "1.4 to 2.9 x: it fuses Sigmoid and Mul, and has no kernel for Swish"),
        ("decompose_mish", "7.2 to 12.5 x; before Softplus, of which Mish may be made"),
        ("decompose_softplus", "3.3 to 4.0 x: its kernel works number by number"),
        ("decompose_prelu", "4.8 to 15 x: its kernel works number by number"),
        ("gather_integers", "it would dequantize a table of words at every run, all of it"),
        ("round_gemm_biases", "it multiplies in integers only where the bias is one too"),
    ),
}
"""What makes one engine faster and would make others slower, with how many times as fast it was."""


LEGALIZING: tuple[str, ...] = ("inline_functions",)
"""For engines that do not take everything; run where an engine's rules ask for them."""


AROUND = ("infer_shapes", "remove_unused")
"""Before and after those of an engine: they want element types, and leave weights behind."""


REPAIRING = ("infer_shapes", "repair_prelu")
"""For files that no engine runs as they are: before anything can be compared."""


REPAIRED = frozenset({"PRelu"})
"""Operators that the repairs look at."""


def portable(*, upgrade: bool = True) -> list[GraphPass]:
    """The portable passes; those of other packages come just before the last.

    Built-in passes that are not listed run only when they are asked for: by an engine's rules, or by
    name.

    Args:
        upgrade: whether the opset may be raised; not where the user chose it.
    """
    own = [name for name, _ in PORTABLE if upgrade or name != "upgrade_opset"]
    return [PASSES.get(name) for name in [*own[:-1], *PASSES.external(), own[-1]]]


def may_need_repair(model: ir.Model) -> bool:
    """Whether it has any of the operators that repairs look at."""
    return any(node.op_type in REPAIRED for node in nodes_of(model))


def repairing() -> list[GraphPass]:
    """What runs first, on files, and unchecked."""
    return [PASSES.get(name) for name in REPAIRING]


def for_engine(name: str, needs: Sequence[str] = ()) -> list[GraphPass]:
    """The passes for one engine alone, which run after the portable ones; none where it has none.

    Args:
        needs: what the engine cannot do without, as its rules say (`Rules.legalize`).
    """
    own = [*needs, *(step for step, _ in PER_ENGINE.get(name, ()))]
    if not own:
        return []
    first, last = AROUND
    return [PASSES.get(step) for step in dict.fromkeys([first, *own, last])]

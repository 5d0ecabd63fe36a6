"""LayerNormalization, InstanceNormalization and RMSNormalization found in the nodes for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Applied, apply, by_onnxruntime, by_reference, graph, tag, weight

AXES = {"last": [-1], "two": [2, 3], "three": [-3, -2, -1], "all": [0, 1, 2, 3]}
SQUARES = {"Pow": "q = Pow (c, two)", "Mul": "q = Mul (c, c)"}
ROOTS = {
    "Div": "s = Sqrt (e)\nn = Div (c, s)",
    "Reciprocal": "s = Sqrt (e)\nr = Reciprocal (s)\nn = Mul (c, r)",
    "one over": "s = Sqrt (e)\nr = Div (one, s)\nn = Mul (r, c)",
    "Pow": "s = Pow (e, power)\nn = Mul (c, s)",
}
CENTRED = "m = ReduceMean (x, axes)\nc = Sub (x, m)\n"
KINDS = {"float": np.float32, "float16": np.float16, "double": np.float64}


def body(centre: str, square: str = "Pow", root: str = "Div", mean: str = "(q, axes)") -> str:
    text = f"{centre}{SQUARES[square]}\nv = ReduceMean {mean}\ne = Add (v, eps)\n{ROOTS[root]}"
    return text if centre else text.replace("(c,", "(x,").replace(", c)", ", x)")


def fused(
    name: str, text: str, affine: str = "y = Identity (n)", *, takes: str = "2,3,4,5",
    axes: list[int] | None = None, kind: str = "float", opset: int = 20, gives: str = "y",
    eps: Any = 1e-3, by: Any = None, **weights: Any,
) -> Applied:  # fmt: skip
    text = f"{text}\n{affine}"
    dtype = KINDS[kind]
    known = {
        "two": np.asarray(2, dtype), "one": np.asarray(1, dtype), "power": np.asarray(-0.5, dtype),
        "eps": np.asarray(eps, dtype), "axes": np.array(axes or [-1], np.int64),
        **{each: array.astype(dtype) for each, array in weights.items()},
    }  # fmt: skip
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    model = graph(
        text,
        takes=f"{kind}[{takes}] x",
        gives=", ".join(f"{kind}[{takes}] {each}" for each in gives.split()),
        opset=opset,
        **{each: array for each, array in known.items() if each in words},
    )
    # A node before it, which shape inference must have seen, as in the pipeline.
    apply("infer_shapes", model, by=[])
    return apply(name, model, exact=False, by=by)


AFFINE = "h = Mul (n, g)\ny = Add (h, b)"


def parameters(*shape: int) -> dict[str, Any]:
    return {"g": weight(*shape, seed=3), "b": weight(*shape, seed=4)}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("square", SQUARES)
def test_layernorm_in_every_spelling(square: str, root: str) -> None:
    applied = fused("fuse_layernorm", body(CENTRED, square, root), AFFINE, **parameters(5))
    assert applied.operators == ["LayerNormalization"]
    assert applied.refusals == []
    (node,) = applied.model.graph
    assert node.attributes.get_float("epsilon") == pytest.approx(1e-3)
    assert len(node.inputs) == 3


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("with_affine", [False, True])
def test_layernorm_over_several_axes(axes: str, with_affine: bool) -> None:
    sizes = (2, 3, 4, 5)[-len(AXES[axes]) :]
    more = parameters(*sizes) if with_affine else {}
    affine = AFFINE if with_affine else "y = Identity (n)"
    applied = fused("fuse_layernorm", body(CENTRED), affine, axes=AXES[axes], **more)
    assert applied.operators[0] == "LayerNormalization"
    assert applied.model.graph[0].attributes.get_int("axis") == -len(sizes)
    assert len(applied.model.graph) == (1 if with_affine else 2)


def test_axes_as_an_attribute() -> None:
    text = body(CENTRED).replace("ReduceMean (", "ReduceMean <axes = [-1]> (").replace(", axes", "")
    applied = fused("fuse_layernorm", text, AFFINE, opset=17, **parameters(5))
    assert applied.operators == ["LayerNormalization"]


@pytest.mark.parametrize(
    ("affine", "operators"),
    [
        ("y = Mul (g, n)", ["LayerNormalization"]),
        ("y = Add (b, n)", ["LayerNormalization"]),
        ("h = Add (n, b)\ny = Mul (h, g)", ["LayerNormalization", "Mul"]),
        ("y = Mul (n, other)", ["LayerNormalization", "Mul"]),
    ],
)
def test_only_what_means_scale_and_shift_is_taken_in(affine: str, operators: list[str]) -> None:
    more = {**parameters(1, 5), "other": weight(4, 5)}
    assert fused("fuse_layernorm", body(CENTRED), affine, **more).operators == operators


@pytest.mark.parametrize("eps", [[1e-3], [[1e-3]], 0.1, 1e-12])
def test_epsilon_of_any_shape_and_size(eps: Any) -> None:
    applied = fused("fuse_layernorm", body(CENTRED), AFFINE, eps=eps, **parameters(5))
    assert applied.operators == ["LayerNormalization"]


def test_mean_taken_off_twice() -> None:
    """Old exporters wrote the difference once for the square and once for the quotient."""
    text = body(CENTRED).replace("n = Div (c, s)", "c2 = Sub (x, m)\nn = Div (c2, s)")
    assert fused("fuse_layernorm", text, AFFINE, **parameters(5)).operators == [
        "LayerNormalization"
    ]


def test_free_sizes_elsewhere() -> None:
    applied = fused("fuse_layernorm", body(CENTRED), AFFINE, takes="N,T,5", **parameters(5))
    assert applied.operators == ["LayerNormalization"]


def test_half_precision() -> None:
    applied = fused("fuse_layernorm", body(CENTRED), AFFINE, kind="float16", by=[], **parameters(5))
    assert applied.operators == ["LayerNormalization"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"opset": 16}, "LayerNormalization is of opset 17, and the model of opset 16"),
        ({"takes": "2,3,N"}, "the sizes of the axes it normalises over are not known"),
        ({"kind": "double"}, "the operator works in float32, and the values are double"),
        ({"gives": "y c"}, "something else reads the result of its Sub too"),
        ({"eps": -1e-9}, "its epsilon is -9.99999972e-10, of rank 0"),
    ],
)
def test_refusals_of_layernorm(options: dict[str, Any], reason: str) -> None:
    text = body(CENTRED)
    if options.get("opset") == 16:
        text = text.replace("ReduceMean (", "ReduceMean <axes = [-1]> (").replace(", axes", "")
    more = {} if "takes" in options else parameters(5)
    affine = "y = Identity (n)" if "takes" in options else AFFINE
    by = [by_reference] if "kind" in options else None
    applied = fused("fuse_layernorm", text, affine, by=by, **options, **more)
    assert not applied.modified
    assert applied.reasons == [reason]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (body(CENTRED), {"axes": [1]}),
        (body(CENTRED, mean="(q, other)"), {"other": np.array([2, 3])}),
        (body(CENTRED, mean="<keepdims = 0> (q, other)"), {"other": np.array([0]), "takes": "1,5"}),
        (body(CENTRED).replace("Pow (c", "Pow (x"), {}),
        (body(CENTRED).replace("two", "three"), {"three": np.asarray(3)}),
    ],
)
def test_what_is_no_layernorm(text: str, options: dict[str, Any]) -> None:
    text = text.replace("(q, other)", "(q, others)") if "other" in options else text
    if "other" in options:
        options = {**options}
        axes = options.pop("other")
        text = text.replace("(q, others)", "(q, more_axes)")
        text = f"more_axes = Constant <value_ints = {axes.tolist()}> ()\n{text}"
    applied = fused("fuse_layernorm", text, **options)
    assert (applied.modified, applied.refusals) == (False, [])


def test_provenance() -> None:
    model = graph(
        body(CENTRED) + "\n" + AFFINE, takes="float[2,5] x", gives="float[2,5] y",
        two=np.float32(2), eps=np.float32(1e-3), axes=np.array([-1]), **parameters(5),
    )  # fmt: skip
    apply("infer_shapes", tag(model, m="norm", c="norm", n="norm", y="norm"), by=[])
    apply("fuse_layernorm", model, exact=False)
    assert dict(model.graph[0].metadata_props) == {"modelport.module": "norm"}


PLANES = [2, 3]


@pytest.mark.parametrize(
    ("affine", "shape", "count"),
    [(AFFINE, (3, 1, 1), 1), (AFFINE, (1, 3, 1, 1), 1), ("y = Mul (n, g)", (3, 1, 1), 1),
     ("y = Identity (n)", (3, 1, 1), 2)],
)  # fmt: skip
def test_instancenorm(affine: str, shape: tuple[int, ...], count: int) -> None:
    applied = fused("fuse_instancenorm", body(CENTRED), affine, axes=PLANES, **parameters(*shape))
    assert applied.operators[0] == "InstanceNormalization"
    assert len(applied.operators) == count


def test_instancenorm_of_three_axes_needs_its_parameters() -> None:
    """Without them, the same nodes are a layer normalisation of a sequence."""
    options: dict[str, Any] = {"takes": "2,3,5", **parameters(3, 1)}
    assert fused("fuse_instancenorm", body(CENTRED), AFFINE, **options).modified
    assert not fused("fuse_instancenorm", body(CENTRED), takes="2,3,5").modified
    layer = {"takes": "2,3,5", **parameters(5)}
    assert not fused("fuse_instancenorm", body(CENTRED), AFFINE, **layer).modified


def test_parameters_over_the_plane_make_it_a_layernorm() -> None:
    options: dict[str, Any] = {"axes": PLANES, **parameters(4, 5)}
    assert not fused("fuse_instancenorm", body(CENTRED), AFFINE, **options).modified
    assert fused("fuse_layernorm", body(CENTRED), AFFINE, **options).modified


def test_instancenorm_of_free_planes() -> None:
    applied = fused(
        "fuse_instancenorm", body(CENTRED), AFFINE, takes="N,3,H,W", axes=PLANES,
        **parameters(3, 1, 1),
    )  # fmt: skip
    assert applied.operators == ["InstanceNormalization"]


def test_refusals_of_instancenorm() -> None:
    free = fused("fuse_instancenorm", body(CENTRED), takes="2,C,4,5", axes=PLANES)
    assert free.reasons == ["the number of channels is not known"]
    read = fused(
        "fuse_instancenorm", body(CENTRED), AFFINE, axes=PLANES, gives="y c", **parameters(3, 1, 1)
    )
    assert read.reasons == ["something else reads the result of its Sub too"]


@pytest.mark.parametrize("affine", [AFFINE, "y = Mul (n, g)", "y = Add (n, b)", "y = Identity (n)"])
@pytest.mark.parametrize(("takes", "planes"), [("2,3,4", 1), ("N,3,H,W", 2), ("1,3,2,2,2", 3)])
def test_channelnorm(takes: str, planes: int, affine: str) -> None:
    more = parameters(3, *[1] * planes)
    applied = fused("fuse_channelnorm", body(CENTRED), affine, takes=takes, axes=[1], **more)
    assert applied.operators[:3] == ["Transpose", "LayerNormalization", "Transpose"]
    assert len(applied.operators) == (4 if "Identity" in affine else 3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"takes": "2,C,4"}, "the number of channels or the element type is not known"),
        ({"gives": "y m"}, "something else reads the result of its ReduceMean too"),
    ],
)
def test_refusals_of_channelnorm(options: dict[str, Any], reason: str) -> None:
    if "gives" in options:
        model_gives = fused("divide_by_root", body(CENTRED), axes=[1], takes="2,3,4").model
        mean = next(n for n in model_gives.graph if n.op_type == "ReduceMean").outputs[0]
        model_gives.graph.outputs.append(mean)
        applied = apply("fuse_channelnorm", model_gives)
    else:
        applied = fused("fuse_channelnorm", body(CENTRED), axes=[1], **options)
    assert applied.reasons == [reason]


def test_the_last_axis_is_none_of_channelnorm() -> None:
    assert not fused("fuse_channelnorm", body(CENTRED), takes="2,3", axes=[1]).modified


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("affine", ["y = Mul (n, g)", "y = Identity (n)"])
def test_rmsnorm(square: str, root: str, affine: str) -> None:
    applied = fused(
        "fuse_rmsnorm", body("", square, root), affine, opset=23, by=[by_onnxruntime], g=weight(5)
    )
    assert applied.operators[0] == "RMSNormalization"
    assert len(applied.operators) == (1 if "Mul" in affine else 2)


def test_rmsnorm_of_old_opsets_is_refused() -> None:
    applied = fused("fuse_rmsnorm", body(""), "y = Mul (n, g)", g=weight(5))
    assert applied.reasons == ["RMSNormalization is of opset 23, and the model of opset 20"]


def test_layernorm_is_no_rmsnorm() -> None:
    assert not fused("fuse_rmsnorm", body(CENTRED), opset=23).refusals


def test_division_by_a_root() -> None:
    text = body("", "Pow", "Reciprocal")
    applied = fused("divide_by_root", text, "y = Mul (n, g)", g=weight(5))
    assert applied.operators == ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]


def test_a_reciprocal_that_others_read_stays() -> None:
    text = "s = Sqrt (x)\nr = Reciprocal (s)\ny = Mul (x, r)\nz = Neg (r)"
    model = graph(text, takes="float[4] x", gives="float[4] y, float[4] z")
    applied = apply("divide_by_root", model, by=[])
    assert applied.reasons == ["something else reads the result of its Reciprocal too"]

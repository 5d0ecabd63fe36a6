"""The patterns that `bench_fusions.py` times: as exporters write them, and as one standard operator.

Shapes are those of small real models. Most cases stand alone, which overstates what a fusion wins in a
model; some are in the context in which the engines have fusions of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Form:
    """One way to write a case: its nodes, their opset, and weights that only it has."""

    body: str
    opset: int = 20
    weights: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What is computed, and the ways to write it; the first is what exporters write."""

    name: str
    takes: str
    gives: str
    forms: Mapping[str, Form]
    weights: Mapping[str, Array] = field(default_factory=dict)


def f(value: float) -> Array:
    return np.asarray(value, np.float32)


def i(*values: int) -> Array:
    return np.asarray(values, np.int64)


def normal(*shape: int, scale: float = 0.02) -> Array:
    return (np.random.default_rng(math.prod(shape)).standard_normal(shape) * scale).astype(
        np.float32
    )


PATTERN, STANDARD = "nodes", "operator"

CONSTANTS: dict[str, Array] = {
    "root2": f(np.sqrt(2)), "inv_root2": f(np.sqrt(0.5)), "one": f(1), "half": f(0.5), "two": f(2),
    "three": f(3), "six": f(6), "zero": f(0), "cubic": f(0.044715), "k": f(np.sqrt(2 / np.pi)),
    "eps": f(1e-5), "sixth": f(1 / 6),
    "twenty": f(20), "lowest": f(np.finfo(np.float32).min),
}  # fmt: skip


def uses(body: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Those of the weights that the body names; an unused one would be in the file for nothing."""
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    return {name: array for name, array in weights.items() if name in words}


def case(
    name: str, takes: str, gives: str, forms: Mapping[str, tuple[str, int] | str], **weights: Array
) -> Case:
    made = {}
    for form, given in forms.items():
        body, opset = given if isinstance(given, tuple) else (given, 20)
        made[form] = Form(body, opset, uses(body, {**CONSTANTS, **weights}))
    return Case(name, takes, gives, made)


GELU = """
d = Div (x, root2)
e = Erf (d)
p = Add (e, one)
m = Mul (x, p)
y = Mul (m, half)
"""
GELU_HALF_FIRST = """
h = Mul (x, half)
d = Mul (x, inv_root2)
e = Erf (d)
p = Add (e, one)
y = Mul (h, p)
"""
GELU_TANH = """
x3 = Pow (x, three)
c = Mul (x3, cubic)
s = Add (x, c)
q = Mul (s, k)
t = Tanh (q)
p = Add (t, one)
h = Mul (x, half)
y = Mul (h, p)
"""
TOKENS, WIDE = "float[1,197,768] x", "float[1,197,3072] x"


def linear_gelu(gelu: str) -> str:
    inner = re.sub(r"\bx\b", "v", gelu).replace("y =", "g =")
    return f"u = MatMul (x, w1)\nv = Add (u, b1)\n{inner}\nz = MatMul (g, w2)\ny = Add (z, b2)"


MLP = {"w1": normal(768, 3072), "b1": normal(3072), "w2": normal(3072, 768), "b2": normal(768)}

LAYER_NORM = """
m = ReduceMean <keepdims = 1> (x, axes)
c = Sub (x, m)
q = Pow (c, two)
v = ReduceMean <keepdims = 1> (q, axes)
e = Add (v, eps)
s = Sqrt (e)
n = Div (c, s)
"""
AFFINE = "a = Mul (n, g)\ny = Add (a, b)"
RMS_NORM = """
q = Pow (x, two)
v = ReduceMean <keepdims = 1> (q, axes)
e = Add (v, eps)
s = Sqrt (e)
r = Reciprocal (s)
n = Mul (x, r)
y = Mul (n, g)
"""
DIV_RMS_NORM = RMS_NORM.replace("r = Reciprocal (s)\nn = Mul (x, r)", "n = Div (x, s)")
GROUP_NORM = """
r = Reshape (x, grouped)
i = InstanceNormalization <epsilon = 0.00001> (r, ones, zeros)
n = Reshape (i, back)
a = Mul (n, g)
y = Add (a, b)
"""
ATTENTION = """
t = Transpose <perm = [0, 1, 3, 2]> (k0)
s = MatMul (q, t)
d = Mul (s, scale)
p = Softmax <axis = -1> (d)
y = MatMul (p, v)
"""
TORCH_ATTENTION = """
t = Transpose <perm = [0, 1, 3, 2]> (k0)
qs = Mul (q, root)
ts = Mul (t, root)
s = MatMul (qs, ts)
p = Softmax <axis = -1> (s)
y = MatMul (p, v)
"""
ONCE_SCALED = (
    TORCH_ATTENTION.replace("root)", "scale)", 1)
    .replace("ts = Mul (t, root)\n", "")
    .replace("ts", "t")
)
MASKED = ATTENTION.replace("d = Mul (s, scale)", "h = Mul (s, scale)\nd = Add (h, mask)")
GROUPED = """
ku = Unsqueeze (k0, two_)
ke = Expand (ku, shape)
kk = Reshape (ke, full)
vu = Unsqueeze (v, two_)
ve = Expand (vu, shape)
vv = Reshape (ve, full)
t = Transpose <perm = [0, 1, 3, 2]> (kk)
s = MatMul (q, t)
d = Mul (s, scale)
p = Softmax <axis = -1> (d)
y = MatMul (p, vv)
"""


def block(inner: str) -> str:
    """The whole attention of a ViT: projections, heads apart and together again."""
    core = inner.replace("y =", "o =")
    return f"""
    qm = MatMul (x, wq)\nqb = Add (qm, bq)\nqr = Reshape (qb, heads)
    q = Transpose <perm = [0, 2, 1, 3]> (qr)
    km = MatMul (x, wk)\nkb = Add (km, bk)\nkr = Reshape (kb, heads)
    k0 = Transpose <perm = [0, 2, 1, 3]> (kr)
    vm = MatMul (x, wv)\nvb = Add (vm, bv)\nvr = Reshape (vb, heads)
    v = Transpose <perm = [0, 2, 1, 3]> (vr)
    {core}
    ot = Transpose <perm = [0, 2, 1, 3]> (o)\nor = Reshape (ot, flat)
    om = MatMul (or, wo)\ny = Add (om, bo)
    """


BLOCK = {
    **{f"w{n}": normal(384, 384) for n in "qkvo"}, **{f"b{n}": normal(384) for n in "qkvo"},
    "heads": i(1, 197, 6, 64), "flat": i(1, 197, 384), "scale": f(0.125), "root": f(0.125**0.5),
}  # fmt: skip
STANDARD_ATTENTION = "y = Attention <scale = 0.125> (q, k0, v)"
HEADS = "float[1,12,197,64] q, float[1,12,197,64] k0, float[1,12,197,64] v"
ROTARY = """
a1, a2 = Split <axis = -1, num_outputs = 2> (x)
n2 = Neg (a2)
r = Concat <axis = -1> (n2, a1)
xc = Mul (x, c2)
rs = Mul (r, s2)
y = Add (xc, rs)
"""
ANGLES = np.outer(np.arange(128), 1 / 10000 ** (np.arange(0, 64, 2) / 64)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)

IMAGE = "float[1,64,56,56] x"
CONV = {"w": normal(64, 64, 1, 1, scale=0.1), "cb": normal(64)}


def after_conv(body: str) -> str:
    return "v = Conv (x, w, cb)\n" + re.sub(r"\bx\b", "v", body)


def activation(name: str, forms: dict[str, tuple[str, int] | str], **weights: Array) -> list[Case]:
    """Alone and behind a convolution, with which engines fuse activations."""
    behind = {
        form: (after_conv(given[0]), given[1]) if isinstance(given, tuple) else after_conv(given)
        for form, given in forms.items()
    }
    return [
        case(name, IMAGE, "float[1,64,56,56] y", forms, **weights),
        case(f"Conv, {name}", IMAGE, "float[1,64,56,56] y", behind, **CONV, **weights),
    ]


NORM = {"g": normal(768) + 1, "b": normal(768), "axes": i(-1)}
GROUPS = {
    "grouped": i(1, 32, -1), "back": i(1, 320, 32, 32), "ones": np.ones(32, np.float32),
    "zeros": np.zeros(32, np.float32), "g": normal(320, 1, 1) + 1, "b": normal(320, 1, 1),
    "g1": normal(320) + 1, "b1": normal(320),
}  # fmt: skip

SOFTPLUS = """
p = Relu (x)
a = Abs (x)
n = Neg (a)
e = Exp (n)
u = Add (e, one)
l = Log (u)
y = Add (p, l)
"""
ACCURATE_SOFTPLUS = SOFTPLUS.replace(
    "y = Add (p, l)",
    """
um = Sub (u, one)
ue = Sub (um, e)
ud = Div (ue, u)
lc = Sub (l, ud)
y = Add (p, lc)
""",
)
RATIONAL_MISH = """
c = Min (x, twenty)
e = Exp (c)
e2 = Add (e, two)
n = Mul (e, e2)
d = Add (n, two)
q = Div (n, d)
y = Mul (x, q)
"""

MASKED = """
m = Where (mask, zero, lowest)
scores = MatMul (queries, keys)
t = Add (scores, m)
s = Softmax <axis = -1> (t)
"""

CASES: list[Case] = [
    case(
        "attention with a mask",
        "float[1,12,128,32] queries, float[1,12,32,128] keys, float[1,12,128,32] values, "
        "bool[1,1,1,128] mask",
        "float[1,12,128,32] y",
        {
            PATTERN: f"{MASKED}n = IsNaN (s)\nw = Where (n, zero, s)\ny = MatMul (w, values)",
            "untested": f"{MASKED}y = MatMul (s, values)",
        },
    ),
    case(
        "Gelu, erf",
        WIDE,
        "float[1,197,3072] y",
        {PATTERN: GELU, "half first": GELU_HALF_FIRST, STANDARD: "y = Gelu (x)"},
    ),
    case(
        "Gelu, tanh",
        WIDE,
        "float[1,197,3072] y",
        {PATTERN: GELU_TANH, STANDARD: 'y = Gelu <approximate = "tanh"> (x)'},
    ),
    case(
        "MLP with Gelu, erf",
        TOKENS,
        "float[1,197,768] y",
        {
            PATTERN: linear_gelu(GELU),
            "half first": linear_gelu(GELU_HALF_FIRST),
            STANDARD: linear_gelu("y = Gelu (x)"),
        },
        **MLP,
    ),
    case(
        "MLP with Gelu, tanh",
        TOKENS,
        "float[1,197,768] y",
        {
            PATTERN: linear_gelu(GELU_TANH),
            STANDARD: linear_gelu('y = Gelu <approximate = "tanh"> (x)'),
        },
        **MLP,
    ),
    *activation(
        "SiLU", {PATTERN: "s = Sigmoid (x)\ny = Mul (x, s)", STANDARD: ("y = Swish (x)", 24)}
    ),
    *activation(
        "HardSwish, clip",
        {
            PATTERN: "a = Add (x, three)\nc = Clip (a, zero, six)\nm = Mul (x, c)\ny = Div (m, six)",
            "HardSigmoid": "s = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)\ny = Mul (x, s)",
            STANDARD: "y = HardSwish (x)",
        },
    ),
    *activation(
        "HardSigmoid, clip",
        {
            PATTERN: "a = Add (x, three)\nc = Clip (a, zero, six)\ny = Div (c, six)",
            STANDARD: "y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)",
        },
    ),
    *activation(
        "Softplus",
        {
            PATTERN: "e = Exp (x)\na = Add (e, one)\ny = Log (a)",
            STANDARD: "y = Softplus (x)",
            "stable nodes": SOFTPLUS,
            "accurate nodes": ACCURATE_SOFTPLUS,
        },
    ),
    *activation(
        "Mish",
        {
            PATTERN: "p = Softplus (x)\nt = Tanh (p)\ny = Mul (x, t)",
            STANDARD: "y = Mish (x)",
            "rational": RATIONAL_MISH,
        },
    ),
    *activation(
        "PRelu",
        {
            PATTERN: "y = PRelu (x, slope)",
            "Relu, Mul, Min": "p = Relu (x)\nn = Min (x, zero)\nm = Mul (n, slope)\ny = Add (p, m)",
            "Mul, Max": "m = Mul (x, slope)\ny = Max (x, m)",
        },
        slope=abs(normal(64, 1, 1, scale=0.2)),
    ),
    *activation(
        "PRelu, one slope",
        {
            PATTERN: "y = PRelu (x, slope)",
            "LeakyRelu": "y = LeakyRelu <alpha = 0.25> (x)",
            "Mul, Max": "m = Mul (x, slope)\ny = Max (x, m)",
        },
        slope=f(0.25).reshape(1),
    ),
    case(
        "LayerNormalization",
        TOKENS,
        "float[1,197,768] y",
        {
            PATTERN: LAYER_NORM + AFFINE,
            STANDARD: "y = LayerNormalization <epsilon = 0.00001> (x, g, b)",
        },
        **NORM,
    ),
    case(
        "LayerNormalization, no affine",
        TOKENS,
        "float[1,197,768] y",
        {
            PATTERN: LAYER_NORM.replace("n =", "y ="),
            STANDARD: "y = LayerNormalization <epsilon = 0.00001> (x, ones)",
        },
        ones=np.ones(768, np.float32),
        axes=i(-1),
    ),
    case(
        "LayerNormalization, 3 axes",
        "float[1,96,28,28] x",
        "float[1,96,28,28] y",
        {
            PATTERN: LAYER_NORM + AFFINE,
            STANDARD: "y = LayerNormalization <axis = 1, epsilon = 0.00001> (x, g, b)",
        },
        axes=i(1, 2, 3),
        g=normal(96, 28, 28) + 1,
        b=normal(96, 28, 28),
    ),
    case(
        "LayerNormalization, channels of NCHW",
        "float[1,96,56,56] x",
        "float[1,96,56,56] y",
        {
            PATTERN: LAYER_NORM + AFFINE,
            STANDARD: "t = Transpose <perm = [0,2,3,1]> (x)\n"
            "n = LayerNormalization <epsilon = 0.00001> (t, g1, b1)\n"
            "y = Transpose <perm = [0,3,1,2]> (n)",
        },
        axes=i(1),
        g=normal(96, 1, 1) + 1,
        b=normal(96, 1, 1),
        g1=normal(96) + 1,
        b1=normal(96),
    ),
    case(
        "Add, LayerNormalization",
        TOKENS + ", float[1,197,768] r",
        "float[1,197,768] y, float[1,197,768] a0",
        {
            PATTERN: ("a0 = Add (x, r)\n" + LAYER_NORM + AFFINE)
            .replace("(x, m)", "(a0, m)")
            .replace("(x, axes)", "(a0, axes)"),
            STANDARD: "a0 = Add (x, r)\ny = LayerNormalization <epsilon = 0.00001> (a0, g, b)",
        },
        **NORM,
    ),
    case(
        "RMSNormalization",
        "float[1,128,2048] x",
        "float[1,128,2048] y",
        {
            PATTERN: RMS_NORM,
            "opset 23": (RMS_NORM, 23),
            "Div": DIV_RMS_NORM,
            STANDARD: ("y = RMSNormalization <epsilon = 0.00001> (x, g)", 23),
        },
        g=normal(2048) + 1,
        axes=i(-1),
    ),
    case(
        "GroupNormalization",
        "float[1,320,32,32] x",
        "float[1,320,32,32] y",
        {
            PATTERN: GROUP_NORM,
            "opset 21": (GROUP_NORM, 21),
            STANDARD: (
                "y = GroupNormalization <epsilon = 0.00001, num_groups = 32> (x, g1, b1)",
                21,
            ),
        },
        **GROUPS,
    ),
    case(
        "InstanceNormalization",
        IMAGE,
        "float[1,64,56,56] y",
        {
            PATTERN: LAYER_NORM + AFFINE,
            STANDARD: "y = InstanceNormalization <epsilon = 0.00001> (x, g1, b1)",
        },
        axes=i(2, 3),
        g=normal(64, 1, 1) + 1,
        b=normal(64, 1, 1),
        g1=normal(64) + 1,
        b1=normal(64),
    ),
    case(
        "Attention",
        HEADS,
        "float[1,12,197,64] y",
        {
            PATTERN: ATTENTION,
            "scaled inputs": TORCH_ATTENTION,
            "scaled query": ONCE_SCALED,
            "opset 23": (ATTENTION, 23),
            STANDARD: (STANDARD_ATTENTION, 23),
        },
        scale=f(0.125),
        root=f(0.125**0.5),
    ),
    case(
        "Attention, mask",
        HEADS + ", float[1,1,197,197] mask",
        "float[1,12,197,64] y",
        {PATTERN: MASKED, STANDARD: ("y = Attention <scale = 0.125> (q, k0, v, mask)", 23)},
        scale=f(0.125),
    ),
    case(
        "Attention, grouped",
        "float[1,32,128,64] q, float[1,8,128,64] k0, float[1,8,128,64] v",
        "float[1,32,128,64] y",
        {PATTERN: GROUPED, STANDARD: (STANDARD_ATTENTION, 23)},
        scale=f(0.125),
        two_=i(2),
        shape=i(1, 8, 4, 128, 64),
        full=i(1, 32, 128, 64),
    ),
    case(
        "Attention, ViT block",
        "float[1,197,384] x",
        "float[1,197,384] y",
        {
            PATTERN: block(ATTENTION),
            "scaled inputs": block(TORCH_ATTENTION),
            "scaled query": block(ONCE_SCALED),
            STANDARD: (block(STANDARD_ATTENTION), 23),
        },
        **BLOCK,
    ),
    case(
        "RotaryEmbedding",
        "float[1,8,128,64] x",
        "float[1,8,128,64] y",
        {
            PATTERN: ROTARY,
            "opset 23": (ROTARY, 23),
            STANDARD: ("y = RotaryEmbedding (x, cos, sin)", 23),
        },
        c2=np.concatenate([COS, COS], -1)[None, None],
        s2=np.concatenate([SIN, SIN], -1)[None, None],
        cos=COS[None],
        sin=SIN[None],
    ),
    case(
        "L2 norm",
        "float[1,197,768] x",
        "float[1,197,768] y",
        {
            PATTERN: "n = ReduceL2 (x, axes)\ny = Div (x, n)",
            STANDARD: "y = LpNormalization <axis = -1, p = 2> (x)",
        },
        axes=i(-1),
    ),
    case(
        "L2 norm, channels",
        IMAGE,
        "float[1,64,56,56] y",
        {
            PATTERN: "n = ReduceL2 (x, axes)\ny = Div (x, n)",
            STANDARD: "y = LpNormalization <axis = 1, p = 2> (x)",
        },
        axes=i(1),
    ),
]

"""BatchNormalization folded into the linear operator before it, and where that must not happen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from helpers import apply, by_onnxruntime, graph, rename, spread, tag, weight

from modelport.graph import io

NORM = "y = BatchNormalization <epsilon = 0.01> (a, scale, shift, mean, var)"


def norm_parameters(channels: int, seed: int = 5) -> dict[str, Any]:
    return {
        "scale": spread(channels, seed=seed),
        "shift": weight(channels, seed=seed + 1),
        "mean": weight(channels, seed=seed + 2),
        "var": spread(channels, seed=seed + 3),
    }


def conv_norm(
    linear: str,
    *,
    takes: str = "float[1,4,7,6] x",
    gives: str = "float[1,6,A,B] y",
    channels: int = 6,
    norm: str = NORM,
    opset: int = 20,
    **weights: Any,
) -> ir.Model:
    parameters = {**norm_parameters(channels), **weights}
    return graph(f"{linear}\n{norm}", takes=takes, gives=gives, opset=opset, **parameters)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("takes", "gives", "shape", "attributes"),
    [
        ("float[2,4,9] x", "float[2,6,A] y", (6, 4, 3), ""),
        ("float[1,4,7,6] x", "float[1,6,A,B] y", (6, 4, 3, 2), "<strides = [2, 1]>"),
        ("float[1,4,7,6] x", "float[1,6,A,B] y", (6, 2, 3, 3), "<group = 2, pads = [1, 1, 1, 1]>"),
        ("float[1,6,7,6] x", "float[1,6,A,B] y", (6, 1, 3, 3), "<group = 6>"),
        ("float[1,4,4,5,3] x", "float[1,6,A,B,C] y", (6, 4, 2, 3, 1), "<dilations = [2, 1, 1]>"),
    ],
)
def test_conv(takes: str, gives: str, shape: tuple[int, ...], attributes: str, bias: bool) -> None:
    inputs = "x, w, b" if bias else "x, w"
    extra = {"b": weight(6, seed=9)} if bias else {}
    model = conv_norm(
        f"a = Conv {attributes} ({inputs})", takes=takes, gives=gives, w=weight(*shape), **extra
    )
    applied = apply("fold_batchnorm", model, exact=False)
    assert applied.modified
    assert applied.operators == ["Conv"]
    assert applied.refusals == []
    (conv,) = model.graph
    assert [value.name for value in conv.outputs] == ["y"]
    assert conv.inputs[1].name == "w"
    factor = model_factor()
    np.testing.assert_allclose(
        applied.constant("w"), weight(*shape) * factor.reshape(-1, *[1] * (len(shape) - 1)), 1e-6
    )


def model_factor() -> Any:
    parameters = norm_parameters(6)
    return parameters["scale"].astype(np.float64) / np.sqrt(parameters["var"] + 0.01)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("inputs", "outputs", "group"), [(4, 6, 1), (4, 6, 2), (6, 6, 3), (2, 8, 2), (6, 3, 3)]
)
def test_conv_transpose(inputs: int, outputs: int, group: int, bias: bool) -> None:
    names = "x, w, b" if bias else "x, w"
    extra = {"b": weight(outputs, seed=9)} if bias else {}
    model = conv_norm(
        f"a = ConvTranspose <group = {group}, strides = [2, 1]> ({names})",
        takes=f"float[2,{inputs},4,5] x",
        gives=f"float[2,{outputs},A,B] y",
        channels=outputs,
        w=weight(inputs, outputs // group, 3, 2),
        **extra,
    )
    # onnx's reference has no groups here, so ONNX Runtime alone compares.
    applied = apply("fold_batchnorm", model, exact=False, by=[by_onnxruntime])
    assert applied.operators == ["ConvTranspose"]


@pytest.mark.parametrize("rank", [1, 3])
def test_conv_transpose_of_other_ranks(rank: int) -> None:
    sizes, free = ",".join(["4"] * rank), ",".join("ABC"[:rank])
    model = conv_norm(
        "a = ConvTranspose (x, w)",
        takes=f"float[1,4,{sizes}] x",
        gives=f"float[1,6,{free}] y",
        w=weight(4, 6, *[2] * rank),
    )
    applied = apply("fold_batchnorm", model, exact=False, by=[by_onnxruntime])
    assert applied.operators == ["ConvTranspose"]


GEMM_BIASES = {
    "none": None,
    "row": weight(6, seed=9),
    "row of a matrix": weight(1, 6, seed=9),
    "scalar": np.float32(0.7),
    "one": np.asarray([0.7], np.float32),
    "one of a matrix": np.asarray([[0.7]], np.float32),
}


@pytest.mark.parametrize("bias", GEMM_BIASES)
@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "<transB = 1>",
        "<alpha = 0.5, beta = 3.0>",
        "<transB = 1, alpha = -2.0, beta = 0.0>",
        "<transA = 1, beta = 0.25>",
    ],
)
def test_gemm(attributes: str, bias: str) -> None:
    array = GEMM_BIASES[bias]
    model = conv_norm(
        f"a = Gemm {attributes} ({'x, w' if array is None else 'x, w, b'})",
        takes="float[4,3] x" if "transA" in attributes else "float[3,4] x",
        gives="float[3,6] y",
        w=weight(6, 4) if "transB" in attributes else weight(4, 6),
        **({} if array is None else {"b": array}),
    )
    applied = apply("fold_batchnorm", model, exact=False)
    assert applied.operators == ["Gemm"]


@pytest.mark.parametrize("shape", [(3, 1), (3, 6)])
def test_gemm_bias_that_differs_between_rows_is_refused(shape: tuple[int, int]) -> None:
    model = conv_norm(
        "a = Gemm (x, w, b)",
        takes="float[3,4] x",
        gives="float[3,6] y",
        w=weight(4, 6),
        b=weight(*shape),
    )
    applied = apply("fold_batchnorm", model)
    assert not applied.modified
    assert applied.reasons == ["the bias of Gemm differs between the rows of a batch"]


def test_weights_shared_by_two_convolutions_are_parted() -> None:
    """Each folds its own factor: neither may see the other's, nor a plain reader of the weight."""
    model = graph(
        """
        a = Conv (x, w, b)
        p = BatchNormalization (a, scale, shift, mean, var)
        c = Conv (x, w, b)
        q = BatchNormalization (c, shift2, scale2, mean, var)
        r = Conv (x, w, b)
        """,
        takes="float[1,4,5,5] x",
        gives="float[1,6,A,B] p, float[1,6,A,B] q, float[1,6,A,B] r",
        w=weight(6, 4, 3, 3),
        b=weight(6),
        scale2=weight(6, seed=20),
        shift2=weight(6, seed=21),
        **norm_parameters(6),
    )
    applied = apply("fold_batchnorm", tag(model, a="left", c="right"), exact=False)
    assert applied.operators == ["Conv"] * 3
    np.testing.assert_array_equal(applied.constant("w"), weight(6, 4, 3, 3))
    assert {node.inputs[1].name for node in model.graph} == {"w", "left.weight", "right.weight"}


def test_new_names_avoid_those_in_use() -> None:
    model = conv_norm(
        "z = Neg (left_bias)\na = Conv (x, w)",
        gives="float[1,6,A,B] y, float[6] z",
        w=weight(6, 4, 3, 3),
        left_bias=weight(6, seed=30),
    )
    apply("fold_batchnorm", tag(rename(model, left_bias="left.bias"), a="left"), exact=False)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert conv.inputs[2].name == "left.bias_1"


def test_new_names_avoid_those_of_enclosing_graphs() -> None:
    """A subgraph that reuses an outer name is invalid ONNX, and readers resolve it wrongly."""
    model = graph(
        """
        y = If (flag) <
            then_branch = yes () => (float[1,6,A,B] yes_out) {
                a = Conv (x, w)
                n = BatchNormalization (a, scale, shift, mean, var)
                yes_out = Add (n, left_bias)
            },
            else_branch = no () => (float[1,6,A,B] no_out) { no_out = Conv (x, w) }
        >
        """,
        takes="float[1,4,5,5] x, bool flag",
        gives="float[1,6,A,B] y",
        w=weight(6, 4, 3, 3),
        left_bias=weight(1, 6, 1, 1, seed=30),
        **norm_parameters(6),
    )
    model = tag(rename(model, left_bias="left.bias"), a="left")
    assert apply("fold_batchnorm", model, exact=False).modified


def test_module_paths_are_kept_and_the_folded_one_is_noted() -> None:
    model = conv_norm("a = Conv (x, w)", w=weight(6, 4, 3, 3))
    apply("fold_batchnorm", tag(model, a="layer1.conv", y="layer1.bn"), exact=False)
    (conv,) = model.graph
    assert conv.metadata_props["modelport.module"] == "layer1.conv"
    assert conv.metadata_props["modelport.merged"] == "layer1.bn"


def test_two_norms_in_a_row_fold_into_one_convolution() -> None:
    model = graph(
        """
        a = Conv (x, w)
        n = BatchNormalization (a, scale, shift, mean, var)
        y = BatchNormalization (n, var, mean, shift, scale)
        """,
        takes="float[1,4,5,5] x",
        gives="float[1,6,A,B] y",
        w=weight(6, 4, 3, 3),
        **norm_parameters(6),
    )
    assert apply("fold_batchnorm", model, exact=False).operators == ["Conv"]


def test_results_keep_their_types_without_shape_inference() -> None:
    """The convolution takes the place of an output, whose type it must take over too."""
    model = conv_norm("a = Conv (x, w)", w=weight(6, 4, 3, 3))
    assert model.graph[0].outputs[0].dtype is None
    apply("fold_batchnorm", model, exact=False)
    assert model.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert model.graph.outputs[0].shape.rank() == 4


def test_weights_of_constant_nodes() -> None:
    model = graph(
        """
        w = Constant <value = float[2,1,1,1] {1.5, -2.0}> ()
        scale = Constant <value_floats = [2.0, 3.0]> ()
        shift = Constant <value_floats = [0.5, -0.5]> ()
        mean = Constant <value_floats = [0.1, 0.2]> ()
        var = Constant <value_floats = [4.0, 9.0]> ()
        a = Conv (x, w)
        y = BatchNormalization (a, scale, shift, mean, var)
        """,
        takes="float[1,1,3,3] x",
        gives="float[1,2,3,3] y",
    )
    applied = apply("fold_batchnorm", model, exact=False)
    assert "BatchNormalization" not in applied.operators


def test_half_precision_stays_half() -> None:
    parameters = {name: a.astype(np.float16) for name, a in norm_parameters(6).items()}
    model = conv_norm(
        "a = Conv (x, w)",
        takes="float16[1,4,5,5] x",
        gives="float16[1,6,A,B] y",
        w=weight(6, 4, 1, 1).astype(np.float16),
        **parameters,
    )
    apply("fold_batchnorm", model, by=[])
    (conv,) = model.graph
    assert {value.dtype for value in conv.inputs[1:]} == {ir.DataType.FLOAT16}


@pytest.mark.parametrize(
    ("linear", "norm", "gives", "reason"),
    [
        (
            "a = Conv (x, w)\nz = Relu (a)",
            NORM,
            "float[1,6,A,B] y, float[1,6,A,B] z",
            "something else reads the result of Conv too",
        ),
        (
            "a = Conv (x, w)",
            NORM,
            "float[1,6,A,B] y, float[1,6,A,B] a",
            "something else reads the result of Conv too",
        ),
        (
            "a = Conv (x, w)",
            "y, m, v = BatchNormalization <training_mode = 1> (a, scale, shift, mean, var)",
            "float[1,6,A,B] y",
            "it is in training mode",
        ),
        (
            "a = Conv (x, w)\nmoved = Neg (mean_source)",
            "y = BatchNormalization (a, scale, shift, moved, var)",
            "float[1,6,A,B] y",
            "its parameters are not constants",
        ),
        (
            "given = Reshape (weights, w_shape)\na = Conv (x, given)",
            NORM,
            "float[1,6,A,B] y",
            "the weight of Conv is not a constant",
        ),
        (
            "moved = Neg (mean_source)\na = Conv (x, w, moved)",
            NORM,
            "float[1,6,A,B] y",
            "the bias of Conv is not a constant",
        ),
    ],
)
def test_refusals(linear: str, norm: str, gives: str, reason: str) -> None:
    model = conv_norm(
        linear,
        norm=norm,
        takes="float[1,4,3,3] x, float[6] mean_source, float[24] weights",
        gives=gives,
        w=weight(6, 4, 1, 1),
        w_shape=np.asarray([6, 4, 1, 1], np.int64),
    )
    applied = apply("fold_batchnorm", model, by=[] if "training" in norm else None)
    assert not applied.modified
    assert applied.reasons == [reason]


def test_refusal_names_the_module() -> None:
    model = conv_norm("a = Conv (x, w)\nz = Relu (a)", gives="float[1,6,A,B] y, float[1,6,A,B] z",
                      w=weight(6, 4, 1, 1))  # fmt: skip
    applied = apply("fold_batchnorm", tag(model, y="stem.bn"))
    assert [refusal.where for refusal in applied.refusals] == ["stem.bn"]


def listed_weights() -> ir.Model:
    """IR 3: the weights stand among the inputs, where a caller may replace them."""
    model = conv_norm("a = Conv (x, w)", w=weight(6, 4, 3, 3))
    model.ir_version = 3
    model.opset_imports[""] = 8
    model.graph.inputs.extend(model.graph.initializers.values())
    return model


def test_weights_that_a_caller_may_replace_are_refused() -> None:
    applied = apply("fold_batchnorm", listed_weights(), by=[by_onnxruntime])
    assert applied.reasons == ["its parameters are not constants"]


def test_weights_listed_as_inputs_fold_once_separated() -> None:
    model = listed_weights()
    separated = apply("separate_initializers", model, by=[by_onnxruntime])
    assert separated.modified
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert model.ir_version == 4, "initializers outside the inputs need IR 4"
    folded = apply("fold_batchnorm", model, exact=False, by=[by_onnxruntime])
    assert folded.operators == ["Conv"]


@pytest.mark.parametrize("opset", [7, 8])
def test_one_number_to_a_position_is_refused(opset: int) -> None:
    """Up to opset 8, `spatial = 0` normalises each position with numbers of its own."""
    shaped = {
        name: spread(6, 2, 2, seed=i) for i, name in enumerate(("scale", "shift", "mean", "var"))
    }
    model = graph(
        "a = Conv (x, w)\ny = BatchNormalization <spatial = 0> (a, scale, shift, mean, var)",
        takes="float[1,4,2,2] x",
        gives="float[1,6,2,2] y",
        opset=opset,
        w=weight(6, 4, 1, 1),
        **shaped,
    )
    applied = apply("fold_batchnorm", model, by=[])
    assert applied.reasons == ["its parameters are not one number to a channel"]


@pytest.mark.parametrize(
    ("conv", "norm"), [("custom.Conv", "BatchNormalization"), ("Conv", "custom.BatchNormalization")]
)
def test_operators_of_other_domains_are_none_of_ours(conv: str, norm: str) -> None:
    model = conv_norm(
        f"a = {conv} (x, w)",
        norm=f"y = {norm} (a, scale, shift, mean, var)",
        w=weight(6, 4, 3, 3),
    )
    assert not apply("fold_batchnorm", model, by=[]).modified


def test_an_unfolded_graph_survives_saving(tmp_path: Any) -> None:
    model = conv_norm("a = Conv (x, w)", w=weight(6, 4, 3, 3))
    apply("fold_batchnorm", tag(model, a="c", y="n"), exact=False)
    io.save(model, tmp_path / "m.onnx")
    (conv,) = io.load(tmp_path / "m.onnx").graph
    assert dict(conv.metadata_props) == {"modelport.module": "c", "modelport.merged": "n"}

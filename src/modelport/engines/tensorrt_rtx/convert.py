"""Parses ONNX with TensorRT for RTX and builds an engine, without a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import tensorrt_rtx_bindings as trt

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.gpu import GpuTarget, profiles
from modelport.engines.tensorrt_rtx.words import WORDS
from modelport.errors import EngineError
from modelport.types import TensorSpec

NAME = "tensorrt-rtx"
ENGINE = "model.engine"


def convert(job: Conversion) -> Converted:
    target = GpuTarget.parse(job.target.device)
    WORDS.clear()
    builder = trt.Builder(WORDS)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(job, network)
    _demand_types(job.signature.inputs, [network.get_input(i) for i in range(network.num_inputs)])
    _demand_types(
        job.signature.outputs, [network.get_output(i) for i in range(network.num_outputs)]
    )
    config = builder.create_builder_config()
    _configure(job, target, config)
    _add_profile(job, builder, config)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineError(f"{NAME} failed while compiling: {WORDS.last() or 'it gave no reason'}")
    (job.directory / ENGINE).write_bytes(built)
    return Converted(
        {"model": ENGINE},
        {
            "device": f"cuda:{target.index or 0}",
            "capabilities": list(target.capabilities),
            "version": trt.__version__,
        },
    )


def _parse(job: Conversion, network: trt.INetworkDefinition) -> None:
    parser = trt.OnnxParser(network, WORDS)
    if parser.parse_from_file(str(job.source)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = "; ".join(dict.fromkeys(_explained(error) for error in errors))
    raise EngineError(
        f"{NAME} failed while compiling: {told or WORDS.last()}",
        hint="Compose it of operators that TensorRT takes with a rewrite, or choose another engine "
        "with --engines",
        operators=[error.node_operator() for error in errors],
    )


def _explained(error: trt.ParserError) -> str:
    """The operator and the node first; what TensorRT says of them often names neither."""
    place = f"{error.node_operator()} (node {error.node_name()!r})"
    words = " ".join(error.desc().split())
    unknown = "UNSUPPORTED_NODE" in str(error.code()) or "Plugin not found" in words
    return f"it does not know {place}: {words}" if unknown else f"it refuses {place}: {words}"


def _demand_types(specs: Sequence[TensorSpec], tensors: Sequence[trt.ITensor]) -> None:
    """A signature is a promise, and TensorRT has no float64 or uint16 to keep it with."""
    for spec, tensor in zip(specs, tensors, strict=True):
        found = trt.nptype(tensor.dtype).__name__.rstrip("_")
        if found != spec.dtype.rstrip("_"):
            raise EngineError(
                f"{NAME} failed while compiling: {spec.name} is {spec.dtype}, and the engine's is {found}",
                hint="Export the model with float32 or int64 inputs and outputs",
            )


def _configure(job: Conversion, target: GpuTarget, config: trt.IBuilderConfig) -> None:
    if job.target.precision == "fp32":
        config.clear_flag(
            trt.BuilderFlag.TF32
        )  # its ten bits of mantissa are not what fp32 promises
    if target.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, target.workspace_mib << 20)
    wanted = [_capability(number) for number in target.capabilities]
    if target.index is not None and not wanted:
        wanted = [trt.ComputeCapability.CURRENT]
    if wanted:  # else one engine for all GPUs from Ampere on
        config.num_compute_capabilities = len(wanted)
        for place, capability in enumerate(wanted):
            config.set_compute_capability(capability, place)


def _capability(number: int) -> trt.ComputeCapability:
    known = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    found = trt.ComputeCapability.__members__.get(f"SM{number}")
    if found is None:
        raise EngineError(
            f"{NAME} does not build for sm{number}", expected=f"one of {', '.join(known).lower()}"
        )
    return found


def _add_profile(job: Conversion, builder: trt.Builder, config: trt.IBuilderConfig) -> None:
    found = profiles(job.signature, NAME)
    if not found:
        return
    profile = builder.create_optimization_profile()
    for each in found:
        profile.set_shape(each.name, each.smallest, each.typical, each.largest)
    config.add_optimization_profile(profile)

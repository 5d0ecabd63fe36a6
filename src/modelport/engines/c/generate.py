"""Writes a graph as C: the generator's operators, with our products, memory plan and weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from emx_onnx_cgen.codegen.c_emitter import CEmitter, ScalarType
from emx_onnx_cgen.compiler import Compiler, CompilerOptions
from emx_onnx_cgen.ir.ops import ConvOp
from jinja2 import ChoiceLoader, DictLoader, PrefixLoader

from modelport.engines.c.build import WEIGHTS
from modelport.engines.c.kernels import KERNELS, LANES, TEMPLATES
from modelport.engines.c.memory import planned
from modelport.errors import EngineError
from modelport.types import Signature, TensorSpec

MOST_INSIDE = 2 << 20
"""Bytes of weights written as numbers into the C file. Compilers take seconds for each further MiB."""

ALIGNMENT = 64
GRAPH = "model_graph"


@dataclass
class Generated:
    """Attributes:
    weights: content of the file beside the source; None where all weights are in the source.
    kept_bytes: weights in either.
    """

    source: str = ""
    header: str = ""
    weights: bytes | None = None
    kept_bytes: int = 0


def generate(model: Any, signature: Signature) -> Generated:
    """The C for an ONNX model.

    Raises:
        EngineError: where sizes of results are known only at run time.
    """
    compiler = Compiler(
        CompilerOptions(model_name=GRAPH, large_temp_threshold_bytes=0, large_weight_threshold=0)
    )
    writer = _Writer(signature)
    compiler._emitter = writer
    text: str = compiler.compile(model)
    made = writer.made
    made.header = writer.header()
    made.source = "\n".join(
        [_about(made), made.header, text.replace("#include <stdint.h>", _INCLUDES, 1)]
    )
    return made


_INCLUDES = "#include <stdint.h>\n#include <string.h>"


@dataclass
class _Interface:
    """Parameters of the entry point: C type, name, shape."""

    inputs: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    outputs: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)

    def declaration(self) -> str:
        told = [f"const {kind} *{name}" for kind, name, _ in self.inputs]
        told += [f"{kind} *{name}" for kind, name, _ in self.outputs]
        return f"void model_run({', '.join([*told, 'void *work'])})"

    def call(self) -> str:
        given = [f"({_pointer(f'const {kind}', '', s)}){name}" for kind, name, s in self.inputs]
        given += [f"({_pointer(kind, '', s)}){name}" for kind, name, s in self.outputs]
        return f"{GRAPH}({', '.join([*given, '(unsigned char *)work'])});"


class _Writer(CEmitter):  # type: ignore[misc]
    def __init__(self, signature: Signature) -> None:
        super().__init__(None, large_temp_threshold_bytes=0, large_weight_threshold=0)
        plain = self._env.loader
        self._env.loader = ChoiceLoader(
            [DictLoader(TEMPLATES), PrefixLoader({"plain": plain}), plain]
        )
        self.made = Generated()
        self._signature = signature
        self._interface = _Interface()
        self._work_bytes = 0
        self._patch_depth = 0

    # --- weights --------------------------------------------------------------------------------

    def _emit_constant_declarations(self, constants: Sequence[Any]) -> str:
        return ""

    def _emit_constant_definitions(self, constants: Sequence[Any], **_: Any) -> str:
        self.made.kept_bytes = sum(map(_bytes_of, constants))
        inside = self.made.kept_bytes <= MOST_INSIDE
        numbers = [each for each in constants if inside or each.dtype == ScalarType.STRING]
        defined = [self._defined(each) for each in numbers]
        if not inside:
            defined += self._pointed(each for each in constants if each not in numbers)
        return "\n\n".join(defined)

    def _defined(self, constant: Any) -> str:
        values = [self._format_weight_value(value, constant.dtype) for value in constant.data]
        lines = [", ".join(values[i : i + 8]) for i in range(0, len(values), 8)] or ["0"]
        suffix = self._array_suffix(constant.shape, constant.dtype)
        start = f"static const EMX_UNUSED {constant.dtype.c_type} {constant.name}{suffix} = {{"
        return start + "\n    " + ",\n    ".join(lines) + "\n};"

    def _pointed(self, constants: Iterable[Any]) -> list[str]:
        """Places in the file of weights, under the names that the operators know."""
        content = bytearray()
        names = []
        for each in constants:
            content += bytes(-len(content) % ALIGNMENT)
            kind = _pointer(f"const {each.dtype.c_type}", "", each.shape)
            names.append(f"#define {each.name} (({kind})(MODEL_WEIGHTS + {len(content)}))")
            array = np.asarray(each.data, each.dtype.np_dtype)
            content += array.astype(array.dtype.newbyteorder("<")).tobytes()
        self.made.weights = bytes(content)
        return [_INCLUDED, "\n".join(names)]

    def _emit_weight_loader(self, model: Any, large_constants: Sequence[Any]) -> str:
        return ""

    # --- functions ------------------------------------------------------------------------------

    def _emit_operator_functions(self, model: Any, resolved_ops: Sequence[Any]) -> str:
        operators: str = super()._emit_operator_functions(model, resolved_ops)
        return f"{KERNELS}\n{operators}"

    def _emit_model_wrapper(
        self, model: Any, resolved_ops: Sequence[Any], temp_buffers: Sequence[Any], **dims: Any
    ) -> str:
        self._check(model)
        text: str = super()._emit_model_wrapper(model, resolved_ops, temp_buffers, **dims)
        kept = [buffer for buffer in temp_buffers if not buffer.is_sequence]
        sizes = {buffer.name: _bytes_of(buffer) for buffer in kept}
        offsets, self._work_bytes = planned(sizes, [op.call_args() for op in resolved_ops])
        for buffer in kept:
            kind, name = buffer.dtype.c_type, buffer.name
            suffix = self._param_array_suffix(buffer.shape, {}, dtype=buffer.dtype)
            place = f"({_pointer(kind, '', buffer.shape)})(work + {offsets[name]})"
            pointer = f"    {_pointer(kind, name, buffer.shape)} = {place};"
            text = text.replace(f"    {kind} {name}{suffix};", pointer, 1)
        for index, op in enumerate(resolved_ops):
            if isinstance(op, ConvOp):
                depth = op.in_channels // op.group * prod(op.kernel_shape)
                self._patch_depth = max(self._patch_depth, depth)
                name = self._op_function_name(model, index)
                text = text.replace(f"    {name}(", f"    {name}(patch, ", 1)
        head, body = text.split(") {\n", 1)
        patch = f"    float *patch = (float *)(work + {self._work_bytes});\n    (void)patch;\n"
        return (
            f"static {head}, unsigned char *work) {{\n{patch}{body}\n\n"
            f"{self._interface.declaration()} {{\n    {self._interface.call()}\n}}\n\n"
            "const unsigned long model_work_bytes = MODEL_WORK_BYTES;"
        )

    def _check(self, model: Any) -> None:
        self._interface.inputs = _parameters(
            self._signature.inputs, model.input_names, model.input_shapes, model.input_dtypes
        )
        self._interface.outputs = _parameters(
            self._signature.outputs, model.output_names, model.output_shapes, model.output_dtypes
        )

    def header(self) -> str:
        patch = f" + {self._patch_depth} * MODEL_TILE * 4" if self._patch_depth else ""
        return _HEADER.format(
            lanes=LANES.strip(),
            sizes="\n".join(
                f"#define MODEL_SIZE_{name} {prod(shape)} /* {kind} {list(shape)} */"
                for kind, name, shape in self._interface.inputs + self._interface.outputs
            ),
            work=f"({max(self._work_bytes, 1)}{patch})",
            declaration=self._interface.declaration(),
        )


def _parameters(
    specs: Sequence[TensorSpec],
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    kinds: Sequence[Any],
) -> list[tuple[str, str, tuple[int, ...]]]:
    """What the generator found, held against what was promised."""
    for spec, shape, kind in zip(specs, shapes, kinds, strict=True):
        if spec.shape != tuple(shape) or np.dtype(spec.dtype) != kind.np_dtype:
            free = "" if spec.is_static else ", whose size only a run can tell"
            raise EngineError(
                f"C has fixed sizes, and this model has {spec}{free}; the generator finds "
                f"{kind.np_dtype} {list(shape)}",
                hint="Cut the model before the operators whose results differ in size",
            )
    told = zip(kinds, names, shapes, strict=True)
    return [(kind.c_type, name, tuple(shape)) for kind, name, shape in told]


def _bytes_of(buffer: Any) -> int:
    size: int = prod(max(1, each) for each in buffer.shape) * buffer.dtype.np_dtype.itemsize
    return size


def _pointer(kind: str, name: str, shape: Sequence[int]) -> str:
    """Type of what an array of that shape becomes as a parameter."""
    rest = "".join(f"[{max(1, size)}]" for size in shape[1:])
    return f"{kind} (*{name}){rest}" if rest else f"{kind} *{name}"


_HEADER = """#ifndef MODEL_H
#define MODEL_H
#include <stdbool.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif

/* Elements of each array, which are contiguous. */
{sizes}

{lanes}

/* Memory the caller lends for a run: so many bytes, aligned to 16. Runs may share it one after another. */
#define MODEL_WORK_BYTES {work}

{declaration};

#ifdef __cplusplus
}}
#endif
#endif
"""

_INCLUDED = f"""/* The weights stand in {WEIGHTS}, little-endian, which GCC and Clang include from the folder
 * where they are started. To keep it elsewhere, define MODEL_WEIGHTS as an address,
 * aligned to {ALIGNMENT}. */
#ifndef MODEL_WEIGHTS
__asm__(".section .rodata\\n.balign {ALIGNMENT}\\nmodel_weights:\\n.incbin \\"{WEIGHTS}\\"\\n.text\\n");
extern const unsigned char model_weights[] __attribute__((visibility("hidden")));
#define MODEL_WEIGHTS model_weights
#endif"""


def _about(made: Generated) -> str:
    weights = f"in {WEIGHTS}" if made.weights is not None else "in this file"
    return (
        "/* A network in C99: model_run, below, runs it; "
        f"{made.kept_bytes} bytes of weights stand {weights}.\n"
        " * Compile it for example with: cc -O3 -c model.c, and link with -lm. */"
    )

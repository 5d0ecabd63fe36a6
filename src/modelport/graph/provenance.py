"""Which `nn.Module` each node came from, kept through every transformation.

Nodes carry it in their metadata, so it survives saving:

    modelport.module   dotted path of the module, empty for the root: `features.0.1`
    modelport.class    class of that module: `torch.nn.modules.conv.Conv2d`
    modelport.line     file and line of the user's own code that called it: `net.py:21`
    modelport.merged   paths of modules whose work was folded into this node, space-separated

Values carry the places that the source marked:

    modelport.mark     names that `modelport.mark` gave this value, space-separated
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePath

import onnx_ir as ir

from modelport.graph.scope import nodes_of

MODULE = "modelport.module"
CLASS = "modelport.class"
LINE = "modelport.line"
MERGED = "modelport.merged"
MARK = "modelport.mark"

_TORCH_SCOPES = "pkg.torch.onnx.name_scopes"
_TORCH_CLASSES = "pkg.torch.onnx.class_hierarchy"
_TORCH_STACK = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_LIBRARY = re.compile(r"[\\/](site-packages|dist-packages)[\\/]")
_EXPORTER = re.compile(
    r"[\\/](site-packages|dist-packages)[\\/](torch|onnxscript)[\\/]"
    r"|[\\/]modelport[\\/]frontends[\\/]|[\\/]lib[\\/]python3\.\d+[\\/]\w+\.py$|^<"
)


def module_of(node: ir.Node) -> str:
    return node.metadata_props.get(MODULE, "")


def describe(node: ir.Node) -> str:
    """Names a node as its user knows it: the module path, else the node's own name."""
    return module_of(node) or node.name or f"an unnamed {node.op_type}"


def adopt_torch_metadata(model: ir.Model) -> None:
    """Turns the exporter's metadata into ours and drops the rest; ours, where it is there, stays.

    The exporter's stack traces are many times larger than a small model, and name the folders
    of the machine that exported it.
    """
    for node in nodes_of(model):
        if MODULE in node.metadata_props:
            continue
        found = _read_torch(node)
        for key in list(node.metadata_props):
            if not key.startswith("modelport."):
                del node.metadata_props[key]
        node.metadata_props.update(found)
        node.doc_string = None


def _read_torch(node: ir.Node) -> dict[str, str]:
    scopes = _literal_list(node.metadata_props.get(_TORCH_SCOPES))
    classes = _literal_list(node.metadata_props.get(_TORCH_CLASSES))
    found = {}
    if len(scopes) >= 2:  # the last one names the operator, the one before it the module
        found[MODULE] = scopes[-2]
    if len(classes) >= 2:
        found[CLASS] = classes[-2]
    line = user_line(node.metadata_props.get(_TORCH_STACK, ""))
    if line:
        found[LINE] = line
    return found


@lru_cache(maxsize=1024)  # nodes of one module say the same
def _literal_list(text: str | None) -> tuple[str, ...]:
    try:
        value = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def user_line(trace: str) -> str | None:
    """The innermost frame of a stack trace that is the user's, as `file:line`.

    That is one outside installed libraries; where there is none, one of the library that defines
    the model.
    """
    frames = [match for match in _FRAME.finditer(trace) if not _EXPORTER.search(match["file"])]
    own = [match for match in frames if not _LIBRARY.search(match["file"])] or frames
    return f"{PurePath(own[-1]['file']).name}:{own[-1]['line']}" if own else None


def inherit(heir: ir.Node, ancestors: Iterable[ir.Node]) -> None:
    """Gives a new or changed node the provenance of the nodes whose work it does.

    The first ancestor with a module lends its path; the paths of the others are noted as merged.
    """
    known = [node for node in ancestors if MODULE in node.metadata_props]
    if not known:
        return
    merged = _merged(heir)
    for node in known:
        merged.update(_merged(node))
        merged[module_of(node)] = None
    if MODULE not in heir.metadata_props:
        for key in (MODULE, CLASS, LINE):
            if key in known[0].metadata_props:
                heir.metadata_props[key] = known[0].metadata_props[key]
    merged.pop(module_of(heir), None)
    if merged:
        heir.metadata_props[MERGED] = " ".join(merged)


def merged_into(node: ir.Node) -> list[str]:
    """Paths of the modules whose work was folded into the node, its own left out."""
    return list(_merged(node))


def _merged(node: ir.Node) -> dict[str, None]:
    return dict.fromkeys(node.metadata_props.get(MERGED, "").split())


def marks_of(value: ir.Value) -> list[str]:
    """Names of the places that the source marked there: the value must stay, as an output must."""
    return value.metadata_props.get(MARK, "").split()


def inherit_marks(heir: ir.Value, value: ir.Value) -> None:
    """What was marked is now the heir."""
    names = dict.fromkeys([*marks_of(heir), *marks_of(value)])
    if names:
        heir.metadata_props[MARK] = " ".join(names)


def name_nodes(model: ir.Model) -> None:
    """Names every node `module.path/Operator`, numbered where that is not unique.

    Engines report these names in their own errors and profiles.
    """
    nodes = list(nodes_of(model))
    stems = [f"{module_of(node)}/{node.op_type}".lstrip("/") for node in nodes]
    totals, seen = Counter(stems), Counter[str]()
    for node, stem in zip(nodes, stems, strict=True):
        node.name = stem if totals[stem] == 1 else f"{stem}_{seen[stem]}"
        seen[stem] += 1

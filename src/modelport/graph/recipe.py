"""Edits as data: read from YAML or from a line of text, checked, and applied to a copy of a graph.

version: 1
edits:
  - bypass: op:Dropout
  - insert_after: {value: logits, operator: Softmax, attributes: {axis: -1}}
  - insert_after: logits Softmax axis=-1        # the same in one line
  - set_input: image:uint8=1..16x3x224x224
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import yaml

from modelport.errors import GraphError, ModelportError, SourceError, UnknownNameError, UsageError
from modelport.graph import edit, nms, ports, retype, weights

VERSION = 1
MOST_BYTES = 1_000_000
_MOST_NESTED = 40

TEXT, TEXTS, NUMBER, FLAG, MAPPING, ANY = "text", "a list", "a whole number", "true or false", \
    "a mapping", "a value"  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One kind of edit.

    Attributes:
        function: takes the model, then the arguments by name.
        needs: arguments that must be there, in the order of the line of text.
        then: an argument that may follow these without its name.
        takes: all arguments, and what each may be.
        whole: whether the line of text is the first argument as it stands, spaces and all.
        open: whether further words of the line, `alpha=0.2`, are attributes of a new node.
    """

    summary: str
    function: Callable[..., Any]
    needs: tuple[str, ...]
    takes: Mapping[str, str]
    then: str = ""
    whole: bool = False
    open: bool = False


_NEW = {"inputs": TEXTS, "attributes": MAPPING, "name": TEXT}
_PORT = {"name": TEXT, "dtype": TEXT, "shape": TEXT}

OPERATIONS: dict[str, Operation] = {
    "insert_after": Operation(
        "put a node behind a value", edit.insert_after, ("value", "operator"),
        {"value": TEXT, "operator": TEXT, **_NEW}, open=True,
    ),
    "insert_before": Operation(
        "put a node before each selected node", edit.insert_before, ("nodes", "operator"),
        {"nodes": TEXT, "operator": TEXT, "input": NUMBER, **_NEW}, open=True,
    ),
    "replace": Operation(
        "put one node in the place of each selected node, module or chain", edit.replace,
        ("nodes", "operator"), {"nodes": TEXT, "operator": TEXT, **_NEW}, open=True,
    ),
    "bypass": Operation(
        "lead what a place reads past it", edit.bypass, ("nodes",), {"nodes": TEXT}, whole=True
    ),
    "remove": Operation(
        "remove nodes that nothing reads", edit.remove, ("nodes",), {"nodes": TEXT}, whole=True
    ),
    "rename": Operation(
        "rename an input, output, weight or other value", edit.rename, ("value", "to"),
        {"value": TEXT, "to": TEXT},
    ),
    "rename_node": Operation(
        "rename a node", edit.rename_node, ("node", "to"), {"node": TEXT, "to": TEXT}
    ),
    "set_attribute": Operation(
        "set an attribute of nodes", edit.set_attribute, ("nodes", "name", "value"),
        {"nodes": TEXT, "name": TEXT, "value": ANY},
    ),
    "remove_attribute": Operation(
        "let an attribute have its default", edit.remove_attribute, ("nodes", "name"),
        {"nodes": TEXT, "name": TEXT},
    ),
    "set_weight": Operation(
        "give a weight new contents", weights.put, ("value",),
        {"value": TEXT, "file": TEXT, "data": ANY, "dtype": TEXT, "shape": TEXTS, "resize": FLAG},
        then="file",
    ),
    "load_weights": Operation(
        "give weights the contents of a .safetensors file", weights.load, ("file",),
        {"file": TEXT, "resize": FLAG},
    ),
    "add_output": Operation(
        "make a value an output", ports.add_output, ("value",), {"value": TEXT, "name": TEXT},
        then="name",
    ),
    "remove_output": Operation(
        "take an output away", ports.remove_output, ("name",), {"name": TEXT}, whole=True
    ),
    "remove_input": Operation(
        "take an input away that nothing reads", ports.remove_input, ("name",), {"name": TEXT},
        whole=True,
    ),
    "set_input": Operation(
        "change what an input takes", ports.set_input, ("name",), _PORT, whole=True
    ),
    "set_output": Operation(
        "change what an output gives", ports.set_output, ("name",), _PORT, whole=True
    ),
    "attach_nms": Operation(
        "put non-maximum suppression behind boxes and scores", nms.attach_nms, ("boxes", "scores"),
        {"boxes": TEXT, "scores": TEXT, "iou": ANY, "score": ANY, "most": ANY, "format": TEXT},
    ),
    "cut_nms": Operation(
        "end before non-maximum suppression", nms.cut_nms, ("node",), {"node": TEXT}, whole=True
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One edit that has been checked against its operation, not yet against a graph.

    Attributes:
        where: where it was said, for messages.
        folder: that paths of files in it are relative to.
    """

    operation: str
    arguments: Mapping[str, Any]
    where: str = ""
    folder: Path = field(default_factory=Path)

    def to_json(self) -> dict[str, Any]:
        return {self.operation: dict(self.arguments)}


def apply(model: ir.Model, edits: Sequence[Edit]) -> ir.Model:
    """Applies edits one after the other to a copy, and checks what has become of it.

    Returns:
        The edited copy; weights that no edit changed are shared with the model, which stays as it is.

    Raises:
        ModelportError: for the first edit that cannot be done; GraphError where all were done and ONNX
            refuses the result.
    """
    copy = retype.copy_of(model)
    if retype.lacks_types(copy):
        _settle_unedited(copy)
    for each in edits:
        arguments = dict(each.arguments)
        if "file" in arguments:
            arguments["file"] = each.folder / arguments["file"]
        try:
            OPERATIONS[each.operation].function(copy, **arguments)
        except ModelportError as error:
            error.seen = f"{_heading(each)}: {error.seen}"
            raise
    try:
        retype.settle(copy)
    except GraphError:
        _settle_unedited(retype.copy_of(model))  # if that fails too, no edit is to blame
        raise
    return copy


def _settle_unedited(model: ir.Model) -> None:
    try:
        retype.settle(model)
    except GraphError as error:
        error.seen = f"Before any edit: {error.seen}"
        raise


def _heading(each: Edit) -> str:
    return f"{each.where}, {each.operation}" if each.where else each.operation


def parse(operation: str, text: str, *, where: str = "") -> Edit:
    """Reads an edit from one line: the arguments it needs in order, then others as `name=value`.

    Raises:
        UnknownNameError: where there is no such operation.
        UsageError: where an argument is missing, or is not what it should be.
    """
    kind = _operation(operation, where)
    if kind.takes is _PORT:
        return _checked(operation, _read_port(text), where)
    if kind.whole:
        return _checked(operation, {kind.needs[0]: text.strip()}, where)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{_at(where)}{operation} {text!r} cannot be read ({error})") from error
    if len(words) < len(kind.needs):
        missing = kind.needs[len(words)]
        raise UsageError(
            f"{_at(where)}{operation} {text!r} lacks its {missing}", expected=usage(operation)
        )
    given: dict[str, Any] = {
        name: _scalar(word) if kind.takes[name] == ANY else word
        for name, word in zip(kind.needs, words, strict=False)
    }
    for word in words[len(kind.needs) :]:
        name, equals, value = word.partition("=")
        if kind.then and not equals and kind.then not in given:
            given[kind.then] = word
        elif not equals or not name:
            raise UsageError(
                f"{_at(where)}{operation} has the word {word!r} too many", expected=usage(operation)
            )
        elif name in kind.takes or not kind.open:
            given[name] = value if kind.takes.get(name) == TEXT else _scalar(value)
        else:
            given.setdefault("attributes", {})[name] = _scalar(value)
    return _checked(operation, given, where)


def usage(operation: str) -> str:
    """How an edit is written in one line."""
    kind = OPERATIONS[operation]
    if kind.takes is _PORT:
        return "NAME:DTYPE=SHAPE, with DTYPE or SHAPE left out where they stay"
    needs = " ".join(name.upper() for name in kind.needs)
    others = [f"[{name}=...]" for name in kind.takes if name not in (*kind.needs, "attributes")]
    return " ".join([needs, *others, *(["[ATTRIBUTE=...]"] if kind.open else [])])


def load(path: str | Path) -> list[Edit]:
    """Reads a recipe and checks it, before anything is done.

    Raises:
        SourceError: where there is no such file.
        UsageError: naming the line, where it is no YAML or not what a recipe should be.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"There is no recipe {path}", hint="Check the path")
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"The recipe {path} is larger than {MOST_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"The recipe {path} is no text in UTF-8") from error
    return [replace(each, folder=path.parent) for each in loads(text, name=str(path))]


def loads(text: str, *, name: str = "recipe") -> list[Edit]:
    """Reads a recipe from its text; see `load`."""
    root = _composed(text, name)
    top = _pairs(root, name, "the recipe")
    for key in top:
        if key not in ("version", "edits"):
            raise UsageError(f"{name} has {key!r}", expected="version and edits alone")
    version = _value(top["version"], name) if "version" in top else VERSION
    if version != VERSION:
        raise UsageError(f"{name} has version {version!r}", expected=str(VERSION))
    items = top.get("edits")
    if not isinstance(items, yaml.SequenceNode):
        raise UsageError(f"{name} has no list of edits", expected="edits: and a list below it")
    return [_edit(item, name) for item in items.value]


def dump(edits: Sequence[Edit], folder: Path) -> str:
    """The text of a recipe that lies in that folder, with files relative to it."""
    written = []
    for each in edits:
        arguments = dict(each.arguments)
        if "file" in arguments:
            arguments["file"] = os.path.relpath(each.folder / arguments["file"], folder)
        written.append({each.operation: arguments})
    text: str = yaml.safe_dump(
        {"version": VERSION, "edits": written}, sort_keys=False, allow_unicode=True
    )
    return text


def _edit(item: yaml.Node, name: str) -> Edit:
    where = _where(item, name)
    pairs = _pairs(item, name, "an edit")
    if len(pairs) != 1:
        raise UsageError(
            f"{where}: an edit has {len(pairs)} keys",
            expected="one, the operation",
            hint="Indent its arguments below it",
        )
    ((operation, node),) = pairs.items()
    if isinstance(node, yaml.ScalarNode):
        return parse(operation, node.value, where=where)
    _operation(operation, where)
    given = {key: _value(value, name) for key, value in _pairs(node, name, operation).items()}
    return _checked(operation, given, where)


def _operation(name: str, where: str) -> Operation:
    if name not in OPERATIONS:
        near = difflib.get_close_matches(name, list(OPERATIONS), n=1)
        raise UnknownNameError(
            f"{_at(where)}there is no operation {name!r}",
            expected=f"one of {', '.join(OPERATIONS)}",
            hint=f"Perhaps you meant {near[0]!r}" if near else None,
        )
    return OPERATIONS[name]


def _checked(operation: str, given: Mapping[str, Any], where: str) -> Edit:
    kind = OPERATIONS[operation]
    for name, value in given.items():
        if name not in kind.takes:
            near = difflib.get_close_matches(name, list(kind.takes), n=1)
            raise UnknownNameError(
                f"{_at(where)}{operation} has no argument {name!r}",
                expected=f"one of {', '.join(kind.takes)}",
                hint=f"Perhaps you meant {near[0]!r}" if near else None,
            )
        if not _is(kind.takes[name], value):
            raise UsageError(
                f"{_at(where)}{operation} has {value!r} as its {name}", expected=kind.takes[name]
            )
    for name in kind.needs:
        if name not in given:
            raise UsageError(
                f"{_at(where)}{operation} lacks its {name}",
                expected=f"{', '.join(kind.needs)}",
            )
    return Edit(operation, dict(given), where)


def _is(kind: str, value: Any) -> bool:
    if kind == TEXT:
        return isinstance(value, str) and bool(value)
    if kind == TEXTS:
        return isinstance(value, list)
    if kind == NUMBER:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == FLAG:
        return isinstance(value, bool)
    return value is not None if kind == ANY else _is_mapping(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _read_port(text: str) -> dict[str, str]:
    """`NAME:DTYPE=SHAPE` in its parts; names may have colons, element types are words."""
    head, equals, shape = text.strip().partition("=")
    name, colon, dtype = head.rpartition(":")
    found = (
        {"name": name, "dtype": dtype}
        if colon and dtype.isalnum() and not dtype[:1].isdigit()
        else {"name": head}
    )
    return {**found, "shape": shape} if equals else found


def _scalar(text: str) -> Any:
    """A value as YAML reads it: a number, true, a list in brackets; else the text itself."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return text


def _composed(text: str, name: str) -> yaml.Node:
    """The tree of a document. Anchors are refused: a few lines of them can stand for gigabytes."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(
                    f"{name}, line {event.start_mark.line + 1}: an alias of YAML (*{event.anchor})",
                    expected="every edit written out",
                )
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_NESTED:
                raise UsageError(f"{name} nests deeper than {_MOST_NESTED} levels")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(
            f"{name}{line} is no YAML ({' '.join(str(problem).split())})",
            hint="Put selectors with colons and stars in quotes",
        ) from error
    if root is None:
        raise UsageError(f"{name} is empty", expected="version: 1, and edits: with a list below it")
    return root


def _pairs(node: yaml.Node, name: str, what: str) -> dict[str, yaml.Node]:
    where = _where(node, name)
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{where}: {what} is no mapping", expected="`name: value`")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        text = _value(key, name)
        if not isinstance(text, str):
            raise UsageError(f"{_where(key, name)}: the key {text!r} is no text")
        if text in found:
            raise UsageError(f"{_where(key, name)}: {text!r} stands there twice")
        found[text] = value
    return found


def _value(node: yaml.Node, name: str) -> Any:
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{_where(node, name)}: {problem}", expected="plain values") from error


def _where(node: yaml.Node, name: str) -> str:
    return f"{name}, line {node.start_mark.line + 1}"


def _at(where: str) -> str:
    return f"{where}: " if where else ""

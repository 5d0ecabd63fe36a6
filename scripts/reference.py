"""Writes docs/reference.md from the docstrings of the public names and from the commands.

The same source gives the same page, whatever the width of the terminal or the version of Python.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import modelport
from modelport import errors, rewrites, transforms
from modelport.cli import app
from modelport.runtime.tasks import TASKS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"

SECTIONS = ("Args", "Attributes", "Parameters", "Raises", "Returns")
REWRITING = (
    "function",
    "module",
    "operator",
    "FunctionRewrite",
    "ModuleRewrite",
    "OperatorRewrite",
)
RESULTS = (
    "modelport.export:Exported",
    "modelport.runtime.tasks.classification:Classification",
    "modelport.runtime.tasks.classification:ClassScore",
    "modelport.runtime.tasks.tensors:Tensors",
    "modelport.verify.bundle:BundleCheck",
    "modelport.verify.bundle:VariantCheck",
    "modelport.verify.compare:Fidelity",
    "modelport.verify.metrics:Closeness",
    "modelport.inspection:Overview",
    "modelport.optimization:Optimized",
    "modelport.optimization:PassRecord",
    "modelport.preparation:Preparation",
    "modelport.engines.preparing:Prepared",
)
"""What the public functions return."""


ROOMS = ("graph", "transforms", "rewrites")

SURGERY = {
    "find": ("places", "nodes", "values", "value"),
    "edit": (
        "insert_after", "insert_before", "replace", "bypass", "remove", "rename", "rename_node",
        "set_attribute", "remove_attribute",
    ),
    "ports": ("add_output", "remove_output", "remove_input", "set_input", "set_output"),
    "weights": ("get", "put", "load", "save"),
    "extract": ("module", "between", "marks", "split"),
    "merge": ("chain", "beside"),
    "diff": ("diff", "Difference"),
    "recipe": ("load", "parse", "apply", "dump"),
    "retype": ("copy_of", "settle"),
    "group": ("group",),
}  # fmt: skip


def page() -> str:
    """The whole page."""
    lines = [
        "# Reference",
        "",
        "`scripts/docs` writes this page from the source. The guides show how things go together; see",
        "[the index](index.md).",
        "",
        "## Functions and classes",
        *_members(("modelport", name, getattr(modelport, name)) for name in _public()),
        "## Transforms",
        "",
        "`modelport.transforms`; see [the guide](transforms.md).",
        *_members(("transforms", name, getattr(transforms, name)) for name in _transforms()),
        "## Rewrites",
        "",
        "`modelport.rewrites`; see [the guide](rewrites.md).",
        *_members(("rewrites", name, getattr(rewrites, name)) for name in REWRITING),
        "## Graphs",
        "",
        "`modelport.graph`; see [the guide](surgery.md).",
        *_members(_surgery()),
        "## Results",
        "",
        "What the functions above, and the tasks, return.",
        *_members(("", *_found(where)) for where in RESULTS),
        "## Tasks",
        "",
        "| name | gives |",
        "| --- | --- |",
        *(f"| `{name}` | {TASKS.get(name).summary} |" for name in TASKS),
        "",
        "## Errors",
        "",
        "In `modelport.errors`; see [the guide](errors.md).",
        "",
        *(f"- `{name}`: {_first_paragraph(kind)}" for name, kind in _errors()),
        "",
        "## Commands",
        "",
        "Each command takes `--help`. `modelport --debug COMMAND` shows tracebacks.",
        "",
        *_commands(),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _public() -> list[str]:
    """Functions first, then classes."""
    names = [name for name in modelport.__all__ if name not in ("__version__", *ROOMS)]
    return sorted(names, key=lambda name: inspect.isclass(getattr(modelport, name)))


def _surgery() -> Iterator[tuple[str, str, Any]]:
    for room, names in SURGERY.items():
        module = importlib.import_module(f"modelport.graph.{room}")
        for name in names:
            yield f"graph.{room}", name, getattr(module, name)


def _transforms() -> list[str]:
    order = ["Decode", "Resize", "CenterCrop", "Normalize", "Layout", "imagenet", "dump", "parse"]
    callables = {name for name in transforms.__all__ if callable(getattr(transforms, name))}
    return [name for name in order if name in callables] + sorted(callables - {*order, "Transform"})


def _errors() -> Iterator[tuple[str, type]]:
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and kind.__module__ == errors.__name__:
            yield name, kind


def _first_paragraph(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def _found(where: str) -> tuple[str, Any]:
    module, _, name = where.partition(":")
    return name, getattr(importlib.import_module(module), name)


def _members(members: Iterator[tuple[str, str, Any]]) -> Iterator[str]:
    for prefix, name, member in members:
        title = f"{prefix}.{name}" if prefix else name
        yield from ("", f"### {title}", "")
        yield from _class(name, member) if inspect.isclass(member) else _function(name, member)
    yield ""


def _function(name: str, function: Any) -> Iterator[str]:
    yield from ("```text", *_signature(name, inspect.signature(function)), "```", "")
    yield from _documented(function)


def _class(name: str, kind: type) -> Iterator[str]:
    fields = _fields(kind)
    signature = fields or inspect.signature(kind).replace(return_annotation=inspect.Signature.empty)
    yield from ("```text", *_signature(name, signature), "```", "")
    yield from _documented(kind)
    if "__init__" in vars(kind) and not fields:
        yield from _documented(kind.__init__)
    for member_name, member in vars(kind).items():
        yield from _method(member_name, member)


def _fields(kind: type) -> inspect.Signature | None:
    """The fields of a pydantic model, whose own signature depends on the version of pydantic."""
    declared = getattr(kind, "model_fields", None)
    if declared is None:
        return None
    parameters = []
    for name, field in declared.items():
        if name == "kind":  # names the transform in a manifest; never given by a caller
            continue
        default = inspect.Parameter.empty if field.is_required() else field.default
        annotation = kind.__annotations__[name]
        parameters.append(_keyword(name, default, annotation))
    return inspect.Signature(parameters)


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _method(name: str, member: Any) -> Iterator[str]:
    function = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
    shown = name == "__call__" or not name.startswith("_")
    if not (shown and inspect.isfunction(function) and inspect.getdoc(function)):
        return
    if function is member or hasattr(member, "__func__"):
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[1:]
        title = "".join(_signature(name, signature.replace(parameters=parameters), wide=True))
    else:
        title = name
    yield from (f"**`{title}`**", "")
    yield from _documented(function)


def _signature(name: str, signature: inspect.Signature, *, wide: bool = False) -> list[str]:
    """One line where it fits, else one line to a parameter."""
    parts, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        parts.append(_parameter(parameter))
    returns = signature.return_annotation
    end = "" if returns is inspect.Signature.empty else f" -> {_annotation(returns)}"
    line = f"{name}({', '.join(parts)}){end}"
    if wide or len(line) <= 96:
        return [line]
    return [f"{name}(", *(f"    {part}," for part in parts), f"){end}"]


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text)


def _default(value: Any) -> str:
    if isinstance(value, float):
        return "1/255" if value == 1 / 255 else repr(value)
    text = repr(value)
    return "..." if text.startswith("<") else text


@dataclass
class _Item:
    name: str
    text: str


def _documented(thing: Any) -> Iterator[str]:
    """The docstring as Markdown: sections become lists."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    section = None
    paragraph: list[str] = []
    for line in [*_outdented(text), "End:"]:
        title = line.rstrip(":")
        if line.endswith(":") and title in (*SECTIONS, "End"):
            yield from _section(section, paragraph)
            section, paragraph = title, []
        else:
            paragraph.append(line)


def _outdented(text: str) -> Iterator[str]:
    """Lines of the docstring; one that starts with a section has lost the indent of its items."""
    lines = text.splitlines()
    lost = bool(lines) and lines[0].rstrip(":") in SECTIONS
    for line in lines:
        starts = line.rstrip(":") in SECTIONS and line.endswith(":")
        yield f"    {line}" if lost and line and not starts else line


def _section(title: str | None, lines: Sequence[str]) -> Iterator[str]:
    if title is None or title == "Returns":
        body = inspect.cleandoc("\n".join(lines))
        if body:
            yield from (f"Returns: {body}" if title else body, "")
        return
    yield from (f"{title}:", "")
    for item in _items(inspect.cleandoc("\n".join(["", *lines]))):
        yield f"- `{item.name}`: {item.text}" if item.name else item.text
    yield ""


def _items(text: str) -> list[_Item]:
    items: list[_Item] = []
    for line in text.splitlines():
        match = re.match(r"([\w, ]+): (.+)", line)
        if match:
            items.append(_Item(match[1], match[2]))
        elif items and line.startswith(" "):
            items[-1].text += f" {line.strip()}"
        elif line.strip():
            items.append(_Item("", line.strip()))
    return items


def _commands() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    yield from ("| option | meaning |", "| --- | --- |")
    yield from (_row(parameter) for parameter in group.params if not _is_help(parameter))
    for name, command in group.commands.items():
        yield from ("", f"### modelport {name}", "", command.help or "", "")
        yield from ("| argument or option | meaning |", "| --- | --- |")
        yield from (_row(parameter) for parameter in command.params if not _is_help(parameter))


def _is_help(parameter: Any) -> bool:
    return parameter.name == "help"


def _row(parameter: Any) -> str:
    option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    title = names if option else f"`{parameter.name.upper()}`"
    notes = []
    if parameter.required:
        notes.append("required")
    text = (parameter.help or "").rstrip(".").replace("|", r"\|")
    repeatable = parameter.multiple if option else parameter.nargs == -1
    if repeatable and "repeatable" not in text:
        notes.append("repeatable")
    if option and not parameter.is_flag and parameter.default is not None:
        notes.append(f"default `{parameter.default}`")
    added = f" ({', '.join(notes)})" if notes else ""
    return f"| {title} | {text}{added}. |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)

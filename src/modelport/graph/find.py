"""Finds nodes and values by what users call them. The one spelling of selectors, used everywhere:

    module:backbone.layer1   the module of that path, with all below it
    module:=backbone         what that module does itself, without those below it
    name:conv1/Conv          the node of that name
    op:Conv                  an operator; of another domain op:com.microsoft::Gelu
    class:Conv2d             modules of that class, with or without its package
    line:net.py:21           what that line of the source calls; line:net.py for the whole file
    value:features.0         the node that gives that value
    pattern:Conv -> Relu     nodes in a row, each read by the next; `*` stands for any operator

Text without such a word is a pattern where it has an arrow; else the path of a module, the name of a
node or of a value, whichever is found first. Where a value is asked for, its name comes first, and a
module or node stands for what it gives. `*` and `?` stand for any characters, and `/.../` is a regular
expression for the whole text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

from modelport.errors import UnknownNameError, UsageError
from modelport.graph import provenance
from modelport.graph.query import operator_of
from modelport.graph.scope import border

KINDS = ("module", "name", "op", "class", "line", "value", "pattern")

_STANDARD = ("", "ai.onnx")

Place = list[ir.Node]
"""Nodes that one selector means together: a module, a chain, or one node."""


def places(model: ir.Model, selector: str) -> list[Place]:
    """What a selector finds: one place for each module, chain or node, in the order of the graph.

    Nodes inside branches and loops are found too, those inside functions are not.

    Raises:
        UnknownNameError: where nothing is found; it offers near names.
    """
    kind, text = _split(selector)
    for each in [kind] if kind else ["module", "name", "value"]:
        found = _PLACES[each](model, text)
        if found:
            return found
    raise _nothing(model, selector, kind, text)


def nodes(model: ir.Model, selector: str) -> list[ir.Node]:
    """All nodes of those places, each once, in the order of the graph."""
    chosen = {node for place in places(model, selector) for node in place}
    return [node for node in model.graph.all_nodes() if node in chosen]


def values(model: ir.Model, selector: str) -> list[ir.Value]:
    """The values that a selector means; of nodes, what others or callers read of them.

    Raises:
        UnknownNameError: where nothing is found; it offers near names.
    """
    kind, text = _split(selector)
    if kind in (None, "value"):
        matches = _matcher(text)
        found = [value for value in _named(model) if matches(value.name or "")]
        if found or kind:
            return found or _raise(_nothing(model, selector, kind, text))
    return border(nodes(model, selector))[1]


def value(model: ir.Model, selector: str) -> ir.Value:
    """The one value that a selector means.

    Raises:
        UsageError: where there are several.
    """
    found = values(model, selector)
    if len(found) != 1:
        names = ", ".join(repr(each.name) for each in found[:6]) or "none that anything reads"
        raise UsageError(
            f"{selector!r} stands for {len(found)} values: {names}",
            expected="one",
            hint="Name the value itself",
        )
    return found[0]


def weight_names(model: ir.Model) -> list[str]:
    return [name for graph in model.graphs() for name in graph.initializers]


def module_paths(model: ir.Model) -> list[str]:
    """The path of every module that has a node, and of all above it, in the order of the graph."""
    paths = (provenance.module_of(node) for node in model.graph.all_nodes())
    return list(dict.fromkeys(above for path in paths for above in _lineage(path)))


def is_below(path: str, module: str) -> bool:
    """Whether a path is that module or lies below it; the root holds everything."""
    return not module or path == module or path.startswith(f"{module}.")


def _split(selector: str) -> tuple[str | None, str]:
    word, colon, rest = selector.partition(":")
    kind = word.strip() if colon and word.strip() in KINDS else None
    text = (rest if kind else selector).strip()
    if not text or (text == "=" and kind != "module"):
        raise UsageError(f"The selector {selector!r} names nothing", hint="Write module:backbone")
    return kind or ("pattern" if "->" in text else None), text


def _matcher(text: str) -> Callable[[str], bool]:
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        try:
            pattern = re.compile(text[1:-1])
        except re.error as error:
            raise UsageError(f"{text} is no regular expression ({error})") from error
        return lambda name: pattern.fullmatch(name) is not None
    if "*" in text or "?" in text:
        wild = re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
        pattern = re.compile(wild, re.DOTALL)
        return lambda name: pattern.fullmatch(name) is not None
    return lambda name: name == text


def _by_module(model: ir.Model, text: str) -> list[Place]:
    """One place for each module that matches and lies in no other that does.

    Where no node is called so, those count into which the work of such a module was folded.
    """
    alone = text.startswith("=")
    matches = _matcher(text[1:] if alone else text)

    def module_in(path: str) -> str | None:
        lineage = [path] if alone else _lineage(path)
        return next((above for above in lineage if matches(above)), None)

    own = _grouped((node, module_in(provenance.module_of(node))) for node in _all(model))
    if own:
        return own
    merged = ((node, provenance.merged_into(node)) for node in _all(model))
    return _grouped(
        (node, next((found for path in paths if (found := module_in(path)) is not None), None))
        for node, paths in merged
    )


def _grouped(keyed: Iterable[tuple[ir.Node, str | None]]) -> list[Place]:
    found: dict[tuple[ir.Graph | ir.Function | None, str], Place] = {}
    for node, key in keyed:
        if key is not None:
            found.setdefault((node.graph, key), []).append(node)
    return list(found.values())


def _by_class(model: ir.Model, text: str) -> list[Place]:
    matches = _matcher(text)

    def path(node: ir.Node) -> str | None:
        name = node.metadata_props.get(provenance.CLASS, "")
        fits = name and (matches(name) or matches(name.rpartition(".")[2]))
        return provenance.module_of(node) if fits else None

    return _grouped((node, path(node)) for node in _all(model))


def _by_line(model: ir.Model, text: str) -> list[Place]:
    matches = _matcher(text)

    def fits(node: ir.Node) -> bool:
        line = node.metadata_props.get(provenance.LINE, "")
        return bool(line) and (matches(line) or matches(line.rpartition(":")[0]))

    return [[node] for node in _all(model) if fits(node)]


def _by_operator(model: ir.Model, text: str) -> list[Place]:
    fits = _operator_matcher(text)
    return [[node] for node in _all(model) if fits(node)]


def _operator_matcher(text: str) -> Callable[[ir.Node], bool]:
    matches = _matcher(text)

    def fits(node: ir.Node) -> bool:
        return matches(operator_of(node)) or ("::" not in text and matches(node.op_type))

    return fits


def _by_name(model: ir.Model, text: str) -> list[Place]:
    matches = _matcher(text)
    return [[node] for node in _all(model) if node.name and matches(node.name)]


def _by_value(model: ir.Model, text: str) -> list[Place]:
    matches = _matcher(text)
    return [[n] for n in _all(model) if any(v.name and matches(v.name) for v in n.outputs)]


def _by_pattern(model: ir.Model, text: str) -> list[Place]:
    steps = [_operator_matcher(step.strip() or "*") for step in text.split("->")]
    found: list[Place] = []
    taken: set[ir.Node] = set()
    for node in _all(model):
        chain = _chain_to(node, steps)
        if chain and taken.isdisjoint(chain):
            found.append(chain)
            taken.update(chain)
    return found


def _chain_to(node: ir.Node, steps: list[Callable[[ir.Node], bool]]) -> Place | None:
    """The first chain, by the order of inputs, that ends in the node."""
    if not steps[-1](node):
        return None
    if len(steps) == 1:
        return [node]
    for source in node.inputs:
        producer = None if source is None else source.producer()
        if producer is not None and producer.graph is node.graph:
            chain = _chain_to(producer, steps[:-1])
            if chain is not None:
                return [*chain, node]
    return None


_PLACES: dict[str, Callable[[ir.Model, str], list[Place]]] = {
    "module": _by_module,
    "name": _by_name,
    "op": _by_operator,
    "class": _by_class,
    "line": _by_line,
    "value": _by_value,
    "pattern": _by_pattern,
}


def _all(model: ir.Model) -> Iterator[ir.Node]:
    return iter(model.graph.all_nodes())


def _lineage(path: str) -> list[str]:
    """The modules on the way to that one, the outermost first; the root has no name to be found by."""
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)] if path else []


def _named(model: ir.Model) -> list[ir.Value]:
    """Values of the graph and its subgraphs, the outer ones first."""
    found: dict[ir.Value, None] = {}
    for graph in model.graphs():
        found.update(dict.fromkeys(graph.inputs))
        found.update(dict.fromkeys(graph.initializers.values()))
        found.update(dict.fromkeys(value for node in graph for value in node.outputs))
    return [each for each in found if each.name]


def _raise(error: UnknownNameError) -> list[ir.Value]:
    raise error


def _nothing(model: ir.Model, selector: str, kind: str | None, text: str) -> UnknownNameError:
    word = selector.partition(":")[0].strip()
    wrong = difflib.get_close_matches(word, KINDS, n=1) if ":" in selector and not kind else []
    near = [f"{wrong[0]}:{selector.partition(':')[2]}"] if wrong else _near(model, kind, text)
    return UnknownNameError(
        f"Nothing in the graph is {selector!r}",
        expected=None if near else f"a selector such as {', '.join(f'{k}:...' for k in KINDS)}",
        hint=f"Perhaps you meant {' or '.join(repr(name) for name in near)}" if near else None,
    )


def _near(model: ir.Model, kind: str | None, text: str) -> list[str]:
    known = list(dict.fromkeys(_candidates(model, kind)))
    plain = text.strip("=*?/ ").rpartition("->")[2].strip() or text
    inside = [name for name in known if plain.lower() in name.lower()]
    return list(dict.fromkeys([*difflib.get_close_matches(plain, known, n=3), *inside]))[:3]


def _candidates(model: ir.Model, kind: str | None) -> Iterator[str]:
    every = list(_all(model))
    if kind in (None, "module"):
        yield from module_paths(model)
    if kind in (None, "name"):
        yield from (node.name for node in every if node.name)
    if kind in (None, "value"):
        yield from (each.name or "" for each in _named(model))
    if kind in ("op", "pattern"):
        yield from (operator_of(node) for node in every)
    if kind == "class":
        names = (node.metadata_props.get(provenance.CLASS, "") for node in every)
        yield from (name.rpartition(".")[2] for name in names if name)
    if kind == "line":
        yield from (node.metadata_props.get(provenance.LINE, "") for node in every)

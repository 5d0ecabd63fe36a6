"""Python on sizes: read from the source, on the lines that ran."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelport.frontends.preflight.finding import Finding, Place, Severity, finding
from modelport.frontends.preflight.places import is_own

_HARMLESS = frozenset(("prod",))  # math.prod of sizes is followed by torch.export
_CASTS = ("int", "float", "round")


def size_findings(lines: Mapping[str, set[int]], *, free: bool) -> Iterator[Finding]:
    """Args:
    lines: the lines that ran, by file.
    free: whether sizes vary; a model library's own code is read only then.
    """
    for file, ran in lines.items():
        if is_own(file) or free:
            yield from _in_file(file, ran, free)


def _in_file(file: str, ran: set[int], free: bool) -> Iterator[Finding]:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and _ran(function, ran):
            for node, kind, seen, suggestion in _Reader(function).found:
                if ran & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)):
                    severity: Severity = "warning" if kind != "shape-edit" else "error"
                    place = Place(file, node.lineno)
                    yield finding(kind, severity, seen, _advice(suggestion, kind, free), place)


def _ran(function: ast.FunctionDef | ast.AsyncFunctionDef, ran: set[int]) -> bool:
    return any(line in ran for line in range(function.body[0].lineno, function.end_lineno or 0))


def _advice(suggestion: str, kind: str, free: bool) -> str:
    if kind == "shape-edit":
        return suggestion
    why = "this size is free" if free else "it matters once that size is free"
    return f"{suggestion}; {why}"


class _Reader(ast.NodeVisitor):
    """Walks one function from top to bottom, and knows which names hold sizes."""

    def __init__(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.found: list[tuple[ast.stmt | ast.expr, str, str, str]] = []
        self._names: set[str] = set()
        for statement in function.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Functions inside are walked on their own."""

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._edits(node, target)
            self._learn(target, self._is_size(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        self._edits(node, node.target)

    def _edits(self, node: ast.stmt, target: ast.expr) -> None:
        if isinstance(target, ast.Subscript) and _is_shape(target.value):
            self._add(
                node,
                "shape-edit",
                f"{ast.unparse(target)} is assigned to, and a shape cannot be changed",
                "Make a new tensor with reshape(), or pad or cut the old one",
            )

    def _learn(self, target: ast.expr, is_size: bool) -> None:
        names = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        for name in names:
            name = name.value if isinstance(name, ast.Starred) else name
            if isinstance(name, ast.Name):
                (self._names.add if is_size else self._names.discard)(name.id)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if not any(self._is_size(argument) for argument in node.args):
            return
        call = ast.unparse(node.func)
        package, _, name = call.rpartition(".")
        if call in _CASTS:
            self._number(node, "Divide with // instead, which stays a size")
        elif package == "math" and name not in _HARMLESS:
            self._number(node, "Use whole-number arithmetic, -(-n // k) for a ceiling, or torch")
        elif package in ("np", "numpy"):
            self._add(
                node, "numpy", f"{ast.unparse(node)} takes a size to numpy", "Use plain arithmetic"
            )

    def _number(self, node: ast.Call, suggestion: str) -> None:
        seen = f"{ast.unparse(node)} makes a plain number of a size"
        self._add(node, "python-number", seen, suggestion)

    def visit_For(self, node: ast.For) -> None:
        self._loop(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._loop(node.iter)
        self.generic_visit(node)

    def _loop(self, iterable: ast.expr) -> None:
        if (
            isinstance(iterable, ast.Call)
            and ast.unparse(iterable.func) == "range"
            and any(self._is_size(argument) for argument in iterable.args)
        ):
            self._add(
                iterable,
                "size-loop",
                f"A Python loop runs over {ast.unparse(iterable)}, a size",
                "Work on the whole tensor at once: an export unrolls the loop for one size",
            )

    def _add(self, node: ast.stmt | ast.expr, kind: str, seen: str, suggestion: str) -> None:
        self.found.append((node, kind, seen, suggestion))

    def _is_size(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._names
        if isinstance(node, ast.BinOp):
            return self._is_size(node.left) or self._is_size(node.right)
        if isinstance(node, ast.UnaryOp):
            return self._is_size(node.operand)
        if isinstance(node, ast.Subscript):
            return self._is_size(node.value)
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Attribute) and node.func.attr == "size"
        return _is_shape(node)


def _is_shape(node: ast.expr) -> bool:
    """`x.shape`; the shapes of weights, `self.weight.shape`, are constant."""
    if not isinstance(node, ast.Attribute) or node.attr != "shape":
        return False
    root: ast.expr = node
    while isinstance(root, (ast.Attribute, ast.Subscript)):
        root = root.value
    return not (isinstance(root, ast.Name) and root.id == "self")

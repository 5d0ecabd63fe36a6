"""Arithmetic with sizes that are free: integer polynomials of named sizes, each in one form.

An entry is a number, a `Size`, or None where nothing is known. Two entries that are equal objects are
equal numbers whatever the free sizes are; entries that differ may be equal still. Nothing is assumed
of a free size but its least value, which is 0 where nobody says otherwise.

onnx-ir's own `SymbolicDim` computes with sympy. That takes milliseconds for a quotient, takes every
size for positive, and refuses names such as `batch size`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

MOST_TERMS = 16
"""Sums that grow longer are given up: no shape is so long, and time would grow with them."""

MOST_FACTORS = 8

LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Symbol:
    """A free size.

    Attributes:
        name: what the graph calls it, empty where it has no name.
        number: tells sizes without a name apart.
        least: the smallest it can be.
    """

    name: str
    number: int = 0
    least: int = 0

    def __str__(self) -> str:
        return self.name or f"?{self.number}"


@dataclass(frozen=True, slots=True)
class Call:
    """A function of sizes that no polynomial expresses: `//`, `%`, `Max` or `Min`."""

    operator: str
    left: Entry
    right: Entry

    def __str__(self) -> str:
        if self.operator in ("Max", "Min"):
            return f"{self.operator}({self.left}, {self.right})"
        return f"(({self.left}) {self.operator} ({self.right}))"


Atom: TypeAlias = Symbol | Call
Monomial: TypeAlias = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """A polynomial that is no number: products of atoms, each with its whole coefficient."""

    terms: frozenset[tuple[Monomial, int]]

    def __str__(self) -> str:
        ordered = sorted(self.terms, key=lambda term: (not term[0], -len(term[0]), _key(term[0])))
        text = " + ".join(_product_text(*term) for term in ordered)
        return text.replace(" + -", " - ")


Known: TypeAlias = int | Size
Entry: TypeAlias = Known | None


def symbol(name: str = "", *, number: int = 0, least: int = 0) -> Size:
    return Size(frozenset({((Symbol(name, number, least),), 1)}))


def add(left: Entry, right: Entry) -> Entry:
    if left is None or right is None:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    sums = _terms(left)
    for monomial, factor in _terms(right).items():
        sums[monomial] = sums.get(monomial, 0) + factor
    return _made(sums)


def negative(entry: Entry) -> Entry:
    return multiply(entry, -1)


def subtract(left: Entry, right: Entry) -> Entry:
    return add(left, negative(right))


def multiply(left: Entry, right: Entry) -> Entry:
    if left is None or right is None:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    sums: dict[Monomial, int] = {}
    for one, factor in _terms(left).items():
        for two, other in _terms(right).items():
            monomial = tuple(sorted(one + two, key=str))
            sums[monomial] = sums.get(monomial, 0) + factor * other
    return _made(sums)


def product(entries: Iterable[Entry]) -> Entry:
    total: Entry = 1
    for entry in entries:
        total = multiply(total, entry)
    return total


def divide(left: Entry, right: Entry) -> Entry:
    """The quotient rounded down. A divisor that may be zero is taken for one that is not."""
    if left is None or right is None or right == 0:
        return None
    if left == right:
        return 1
    if isinstance(right, int):
        return _divide_by_number(left, right)
    return _divide_by_size(left, right)


def truncated(left: Entry, right: Entry) -> Entry:
    """The quotient rounded to zero, which is what Div of integers means."""
    if left is None or right is None or right == 0:
        return None
    if isinstance(left, int) and isinstance(right, int):
        whole = abs(left) // abs(right)
        return whole if (left < 0) == (right < 0) else -whole
    below, above = least(left), least(right)
    quotient = divide(left, right)
    if below is not None and above is not None and min(below, above) >= 0:
        return quotient
    exact = multiply(quotient, right) == left
    return quotient if exact else None


def modulo(left: Entry, right: Entry) -> Entry:
    """The remainder with the sign of the divisor, as in Python."""
    if left is None or right is None or right == 0:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    if left == right:
        return 0
    if not isinstance(right, int) or right < 0:
        return _call("%", left, right)
    rest = _made({monomial: factor % right for monomial, factor in _terms(left).items()})
    return rest if rest is None or isinstance(rest, int) else _call("%", rest, right)


def maximum(left: Entry, right: Entry) -> Entry:
    return _extreme("Max", left, right)


def minimum(left: Entry, right: Entry) -> Entry:
    return _extreme("Min", left, right)


def least(entry: Entry) -> int | None:
    """A number that the entry is never below, or None where there is none."""
    if entry is None or isinstance(entry, int):
        return entry
    total = 0
    for monomial, factor in entry.terms:
        bound = _least_of_product(monomial)
        if monomial and (factor < 0 or bound is None):
            return None
        total += factor * (bound or 0)
    return total


def equals(left: Entry, right: Entry) -> bool | None:
    """Whether both are always equal, or never; None where that depends or is not known."""
    if left is None or right is None:
        return None
    if left == right:
        return True
    return False if less(left, right) or less(right, left) else None


def less(left: Entry, right: Entry) -> bool | None:
    """Whether the left one is always below, or never; None where that depends or is not known."""
    above = least(subtract(right, left))
    if above is not None and above > 0:
        return True
    below = least(subtract(left, right))
    return False if below is not None and below >= 0 else None


def rendered(entry: Known) -> str | None:
    """The text of a size that has names throughout and reads back as the same size, else None."""
    text = str(entry)
    if isinstance(entry, int) or len(text) > LONGEST_TEXT:
        return None
    atoms = [atom for monomial, _ in entry.terms for atom in monomial]
    (first, *others) = atoms
    if isinstance(first, Symbol) and not others and text == first.name:
        return text  # names that are no identifiers too
    return text if all(_is_plain(atom) for atom in atoms) else None


def _is_plain(entry: Atom | Entry) -> bool:
    if isinstance(entry, Symbol):
        return entry.name.isidentifier()
    if isinstance(entry, Call):
        return _is_plain(entry.left) and _is_plain(entry.right)
    if isinstance(entry, Size):
        return all(_is_plain(atom) for monomial, _ in entry.terms for atom in monomial)
    return True


def parsed(text: str, leasts: Mapping[str, int]) -> Known:
    """The size that a graph's own text means.

    Exporters write sums of sizes as text, `past + 1`. A name such as `batch-size` is a name: signs of
    a sum stand between spaces.
    """
    if not text.isidentifier() and not re.search(r"\S[+-]|[+-]\S", text):
        try:
            entry = _evaluated(ast.parse(text, mode="eval").body, leasts)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            entry = None
        if entry is not None:
            return entry
    return symbol(text, least=leasts.get(text, 0))


_OPERATORS: dict[type[ast.operator], Callable[[Entry, Entry], Entry]] = {
    ast.Add: add,
    ast.Sub: subtract,
    ast.Mult: multiply,
    ast.FloorDiv: divide,
    ast.Mod: modulo,
}
_FUNCTIONS: dict[str, Callable[[Entry, Entry], Entry]] = {"Max": maximum, "Min": minimum}


def _evaluated(node: ast.expr, leasts: Mapping[str, int]) -> Entry:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return symbol(name, least=leasts.get(name, 0))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluated(left, leasts), _evaluated(right, leasts))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if (
            name in _FUNCTIONS
        ):
            return _FUNCTIONS[name](_evaluated(left, leasts), _evaluated(right, leasts))
    return None


def _terms(entry: Known) -> dict[Monomial, int]:
    return {(): entry} if isinstance(entry, int) else dict(entry.terms)


def _made(sums: Mapping[Monomial, int]) -> Entry:
    kept = {monomial: factor for monomial, factor in sums.items() if factor}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    if len(kept) > MOST_TERMS or max(map(len, kept)) > MOST_FACTORS:
        return None
    return Size(frozenset(kept.items()))


def _divide_by_number(left: Known, right: int) -> Entry:
    if isinstance(left, int):
        return left // right
    if right < 0:
        return None
    whole = _made({monomial: factor // right for monomial, factor in left.terms})
    rest = _made({monomial: factor % right for monomial, factor in left.terms})
    return add(whole, 0 if isinstance(rest, int) else _call("//", rest, right))


def _divide_by_size(left: Known, right: Size) -> Entry:
    """The quotient of the terms where the divisor is one product that divides them all."""
    if left == 0:
        return 0
    if len(right.terms) == 1:
        ((monomial, factor),) = right.terms
        quotient: dict[Monomial, int] = {}
        for one, other in _terms(left).items():
            rest = _without(one, monomial)
            if rest is None or other % factor:
                return _call("//", left, right)
            quotient[rest] = other // factor
        return _made(quotient)
    return _call("//", left, right)


def _without(monomial: Monomial, factors: Monomial) -> Monomial | None:
    rest = list(monomial)
    for atom in factors:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _extreme(operator: str, left: Entry, right: Entry) -> Entry:
    if left is None or right is None:
        return None
    below, above = less(left, right), less(right, left)
    if left == right or below or above is False:  # the left one is not above
        return right if operator == "Max" else left
    if above or below is False:
        return left if operator == "Max" else right
    return _call(operator, *sorted((left, right), key=str))


def _call(operator: str, left: Entry, right: Entry) -> Entry:
    if left is None or right is None or len(str(left)) + len(str(right)) > LONGEST_TEXT:
        return None
    return Size(frozenset({((Call(operator, left, right),), 1)}))


def _least_of_product(monomial: Monomial) -> int | None:
    bound = 1
    for atom in monomial:
        own = atom.least if isinstance(atom, Symbol) else _least_of_call(atom)
        if own is None or own < 0:
            return None
        bound *= own
    return bound


def _least_of_call(call: Call) -> int | None:
    left, right = least(call.left), least(call.right)
    if call.operator == "Max":
        return max((bound for bound in (left, right) if bound is not None), default=None)
    if left is None or right is None:
        return None
    if call.operator == "Min":
        return min(left, right)
    if call.operator == "//" and isinstance(call.right, int):
        return left // call.right
    return 0 if min(left, right) >= 0 else None


def _key(monomial: Monomial) -> list[str]:
    return [str(atom) for atom in monomial]


def _product_text(monomial: Monomial, factor: int) -> str:
    if not monomial:
        return str(factor)
    text = "*".join(_key(monomial))
    if factor in (1, -1):
        return text if factor == 1 else f"-{text}"
    return f"{factor}*{text}"

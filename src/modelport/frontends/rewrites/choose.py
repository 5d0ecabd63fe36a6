"""Which rewrites apply, and which wins where several have one target.

The order, from the first that decides:

1. **Whose it is.** A user's own beats one of another package, which beats a built-in one.
2. **How narrow it is.** One for an engine and a package beats one for an engine, which beats one for
   a package, which beats one for everything.

Two that are still level are an error. The order of imports and of registration never counts.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch
from packaging.requirements import InvalidRequirement, Requirement

from modelport.engines import ENGINES
from modelport.errors import UsageError
from modelport.frontends.rewrites.base import EXPORTERS, OperatorRewrite, Rewrite
from modelport.frontends.rewrites.targets import Place, find_overloads, find_place

BUILT_IN, OF_A_PACKAGE, OWN = range(3)
_WHOSE = ("built in", "of another package", "your own")


@dataclass(frozen=True)
class Choice:
    """A rewrite that won its target.

    Attributes:
        place: of a function or class.
        overload: of an operator.
    """

    rewrite: Rewrite
    origin: int
    place: Place | None = None
    overload: torch._ops.OpOverload | None = None

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Higher wins; see the docstring of this file."""
        return self.origin, self.rewrite.engine is not None, self.rewrite.package is not None

    @property
    def key(self) -> Hashable:
        """Equal for two rewrites of one thing, whatever name each of them calls it by."""
        return self.overload if self.place is None else id(self.place.original)


def choose(
    rewrites: Mapping[int, Iterable[Rewrite]], *, exporter: str, engine: str | None
) -> list[Choice]:
    """The rewrites that apply, one for each target.

    Args:
        rewrites: by whose they are: `BUILT_IN`, `OF_A_PACKAGE` or `OWN`.

    Raises:
        UsageError: for a rewrite that can't be meant, and for two that are level.
    """
    if exporter not in EXPORTERS:
        raise UsageError(
            f"There is no exporter {exporter!r}", expected=f"one of {', '.join(EXPORTERS)}"
        )
    winners: dict[Hashable, Choice] = {}
    level: dict[Hashable, Choice] = {}
    for origin, members in rewrites.items():
        for rewrite in members:
            check(rewrite)
            if refusal(rewrite, exporter=exporter, engine=engine) is None:
                for choice in _choices(rewrite, origin):
                    _contend(choice, winners, level)
    for key, loser in level.items():
        raise _tie(winners[key], loser)
    return list(winners.values())


def _contend(
    choice: Choice, winners: dict[Hashable, Choice], level: dict[Hashable, Choice]
) -> None:
    best = winners.setdefault(choice.key, choice)
    if best is choice:
        return
    if choice.rank > best.rank:
        winners[choice.key] = choice
        level.pop(choice.key, None)
    elif choice.rank == best.rank:
        level[choice.key] = choice


def _tie(one: Choice, other: Choice) -> UsageError:
    return UsageError(
        f"The rewrites {one.rewrite.name!r} and {other.rewrite.name!r} both replace "
        f"{one.rewrite.target!r}, both are {_WHOSE[one.origin]}, and both are for "
        f"{one.rewrite.scope}",
        hint="Leave one of them out, or give one an engine or a package",
    )


def _choices(rewrite: Rewrite, origin: int) -> Iterator[Choice]:
    required = origin == OWN
    if isinstance(rewrite, OperatorRewrite):
        for overload in find_overloads(rewrite, required=required):
            yield Choice(rewrite, origin, overload=overload)
    else:
        place = find_place(rewrite, required=required)
        if place is not None:
            yield Choice(rewrite, origin, place=place)


def check(rewrite: Any) -> None:
    """Raises UsageError where the rewrite itself cannot be meant."""
    if not isinstance(rewrite, Rewrite):
        raise UsageError(
            f"{rewrite!r} was given as a rewrite", expected="an instance of a class of rewrites"
        )
    if unknown := set(rewrite.exporters) - set(EXPORTERS):
        raise UsageError(
            f"The rewrite {rewrite.name!r} is for the exporter {min(unknown)!r}",
            expected=f"any of {', '.join(EXPORTERS)}",
        )
    if rewrite.engine is not None:
        ENGINES.get(rewrite.engine)
    if rewrite.package is not None:
        _requirement(rewrite)


def _requirement(rewrite: Rewrite) -> Requirement:
    try:
        return Requirement(rewrite.package or "")
    except InvalidRequirement:
        raise UsageError(
            f"The rewrite {rewrite.name!r} is for the package {rewrite.package!r}",
            expected="a requirement such as timm>=1.0,<2",
        ) from None


def refusal(
    rewrite: Rewrite, *, exporter: str | None = None, engine: str | None = None
) -> str | None:
    """Why it does not apply, or None. Without an exporter and an engine: why not on this machine."""
    if exporter is not None and exporter not in rewrite.exporters:
        return f"for the exporter {', '.join(rewrite.exporters)}"
    if exporter is not None and rewrite.engine not in (None, engine):
        return f"for the engine {rewrite.engine}"
    if rewrite.package is not None:
        return _unmet(_requirement(rewrite))
    return None


def _unmet(wanted: Requirement) -> str | None:
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"for {wanted}, and {wanted.name} is {found}"


def absent(rewrite: Rewrite) -> str | None:
    """Why the target cannot be here, or None where its package is installed."""
    package = rewrite.target.partition("::" if rewrite.kind == "operator" else ".")[0]
    if package in sys.modules or package in _OPERATORS or find_spec(package) is not None:
        return None
    return f"{package} is not installed"


_OPERATORS = ("aten", "prims")
"""Namespaces of torch's own operators."""


def all_status(rewrites: Sequence[Rewrite]) -> dict[str, str]:
    """For each name `applies`, or why it does not on this machine."""
    return {each.name: refusal(each) or absent(each) or "applies" for each in rewrites}

"""One registry for each kind of extension: engines, passes, schemes, tasks.

A registry knows its members by name and imports one only when it is asked for. Members come
from the built-in table and from other packages through the entry-point group
named after the plural: `modelport.engines`, `modelport.passes`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from modelport.errors import UnknownNameError, UsageError

Member = TypeVar("Member")


class Registry(Generic[Member]):
    """Members of one kind by name.

    Args:
        kind: the singular word for a member, `engine` say; names the entry-point group too.
        builtin: for each built-in name where it lives, as `package.module:attribute`.
        classes: whether the members are classes themselves.

    Otherwise a class found there is instantiated once, without arguments; anything else is the member.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], *, classes: bool = False) -> None:
        self.kind = kind
        self._classes = classes
        self._builtin = dict(builtin)
        self._loaded: dict[str, Member] = {}

    def __iter__(self) -> Iterator[str]:
        return iter([*self._builtin, *sorted(self._external)])

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._external

    def external(self) -> list[str]:
        """Names of the members that other packages brought."""
        return sorted(self._external)

    def get(self, name: str) -> Member:
        """The member of that name; raises UnknownNameError that offers the nearest ones."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Member:
        found: Any
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            found = getattr(importlib.import_module(module), attribute)
        elif name in self._external:
            found = self._external[name].load()
        else:
            raise self._unknown(name)
        made = isinstance(found, type) and not self._classes
        return cast(Member, found() if made else found)

    @cached_property
    def _external(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        plural = f"{self.kind}es" if self.kind.endswith("s") else f"{self.kind}s"
        for point in entry_points(group=f"modelport.{plural}"):
            if point.name in self._builtin or point.name in found:
                raise UsageError(
                    f"The {self.kind} name {point.name!r} is taken twice, the second time by "
                    f"{point.value}",
                    hint="Uninstall one of the two packages",
                )
            found[point.name] = point
        return found

    def _unknown(self, name: str) -> UnknownNameError:
        near = difflib.get_close_matches(name, list(self), n=1)
        return UnknownNameError(
            f"There is no {self.kind} named {name!r}",
            expected=f"one of {', '.join(self)}",
            hint=f"Perhaps you meant {near[0]!r}" if near else None,
        )

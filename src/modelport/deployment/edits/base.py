"""The contract of an edit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import onnx_ir as ir

from modelport.frontends.source import Source
from modelport.types import Feeds, Outputs

T = TypeVar("T")


def same(value: T) -> T:
    """Where an edit leaves feeds or outputs as they are."""
    return value


@dataclass(frozen=True)
class Draft:
    """What a deployment is about to be: a graph, and the source that says what goes around it."""

    model: ir.Model
    source: Source


@dataclass(frozen=True)
class Edited:
    """What an edit made of a draft, and how to prove it.

    Attributes:
        feeds: from feeds of the new graph to those of the graph before.
        outputs: from outputs of the new graph to those of the graph before.
    """

    draft: Draft
    feeds: Callable[[Feeds], Feeds] = same
    outputs: Callable[[Outputs], Outputs] = same


class Edit(ABC):
    """Moves work between the graph and what stands before or after it."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def refuses(self, draft: Draft) -> str | None:
        """Why it cannot be done here, or None."""

    @abstractmethod
    def apply(self, draft: Draft) -> Edited:
        """The edited draft. The graph is the caller's to change; the source is not."""

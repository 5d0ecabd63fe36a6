"""The record of what each rewrite replaced, and where."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parents[2])
_SKIPPED = ("<", _OURS, _TORCH, sysconfig.get_paths()["stdlib"] + "/")


@dataclass(frozen=True)
class Fired:
    """A rewrite at one place.

    Attributes:
        rewrite: its name.
        module_path: dotted path of the innermost module around that place; empty for the root.
        where: `file.py:line` of the user's code, or of the library that calls, where it is known.
        count: how often it was called from there.
    """

    rewrite: str
    module_path: str | None
    where: str | None
    count: int


class Log:
    """Counts what fires.

    Args:
        module: the module that is exported, to know the paths in it.
    """

    def __init__(self, module: nn.Module) -> None:
        self._paths: dict[int, str] = {}
        self._counts: Counter[tuple[str, str | None, str | None]] = Counter()
        self.learn(module)

    def learn(self, module: nn.Module, prefix: str = "") -> None:
        """Remembers the paths of a module and all that is in it."""
        for path, part in module.named_modules(prefix=prefix):
            self._paths.setdefault(id(part), path)

    def note(self, rewrite: str, module_path: str | None, where: str | None) -> None:
        self._counts[rewrite, module_path, where] += 1

    def note_caller(self, rewrite: str) -> None:
        """Notes the place that the running code was called from, no further out than the module."""
        frame: FrameType | None = sys._getframe(1)
        path: str | None = None
        lines: list[tuple[str, int]] = []
        while frame is not None:
            around = self._paths.get(id(frame.f_locals.get("self")))
            path = around if path is None else path
            lines.append((frame.f_code.co_filename, frame.f_lineno))
            frame = None if around == "" else frame.f_back
        self.note(rewrite, path, _innermost(lines))

    def note_node(self, rewrite: str, node: torch.fx.Node) -> None:
        """Notes the place that a node of an exported program comes from."""
        stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
        path = next((entry[0] for entry in reversed(stack.values())), None)
        self.note(rewrite, path, _line_of(node.meta.get("stack_trace") or ""))

    def note_translated(self, rewrite: str) -> None:
        """Notes the node that torch's exporter is at, which is a variable of one of its frames."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            node = frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node):
                return self.note_node(rewrite, node)
            frame = frame.f_back
        return self.note(rewrite, None, None)

    def note_traced(self, rewrite: str, node: Any) -> None:
        """Notes the place that a node of a TorchScript graph comes from.

        Its scope reads `net.Net::/torch.nn.Linear::layer.0`, its range `net.py(12): forward`.
        """
        if node is None:
            return self.note(rewrite, None, None)
        scopes = [part.rpartition("::")[2] for part in node.scopeName().split("/")]
        path = ".".join(part for part in scopes if part)
        found = re.findall(r"(?m)^(.+?)\((\d+)\): ", node.sourceRange())
        where = _innermost([(filename.strip(), int(line)) for filename, line in found])
        return self.note(rewrite, path, where)

    @property
    def fired(self) -> list[Fired]:
        """One entry for each rewrite and place, in the order they came."""
        return [Fired(*key, count) for key, count in self._counts.items()]


def _line_of(trace: str) -> str | None:
    """The line of a trace as torch.fx writes it, outermost first: `File "net.py", line 3, in f`."""
    found = re.findall(r'File "(.+?)", line (\d+)', trace)
    return _innermost([(filename, int(line)) for filename, line in reversed(found)])


def _innermost(lines: list[tuple[str, int]]) -> str | None:
    """The first line of the user's own code, else of a library other than torch, else None."""
    known = [line for line in lines if not line[0].startswith(_SKIPPED)]
    own = [line for line in known if "site-packages" not in line[0]]
    return next((f"{Path(name).name}:{number}" for name, number in own or known), None)

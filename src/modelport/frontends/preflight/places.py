"""From a frame, an exception or a node to the line of the user's code."""

from __future__ import annotations

import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import torch
from torch import nn

from modelport.frontends.adapter import Adapter, unprefixed
from modelport.frontends.explain import is_foreign, place_of
from modelport.frontends.preflight.finding import Place

_NEVER = (
    "<",
    str(Path(__file__).parents[2]),
    str(Path(torch.__file__).parent),
    sysconfig.get_paths()["stdlib"] + "/",
)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def is_own(file: str) -> bool:
    """Whether the user wrote that file."""
    return not is_foreign(file)


def is_code(file: str) -> bool:
    """Whether it is the user's, or a model library's: neither torch, Python nor modelport."""
    if "site-packages" in file:
        return not file.startswith(_NEVER[:3])
    return not file.startswith(_NEVER)


class Places:
    """Knows the modules of one tree.

    Args:
        module: the root.
        within: the code that calls it; frames outside of that are nobody's concern.
    """

    def __init__(self, module: nn.Module, within: CodeType) -> None:
        self.module = module
        self._within = within
        clean = unprefixed if isinstance(module, Adapter) else str
        self._paths = {id(part): clean(path) for path, part in module.named_modules()}
        self._files: dict[str, str] = {}

    def learn(self, file: str) -> None:
        """Notes a file, so that it is found again where only its name is told."""
        self._files[Path(file).name] = file

    def here(self) -> Place:
        """The innermost line of the user's own code that is running; else a library's."""
        library: Place | None = None
        path: str | None = None
        for frame in self._frames():
            path = self._paths.get(id(frame.f_locals.get("self"))) if path is None else path
            file = frame.f_code.co_filename
            if is_own(file):
                return Place(file, frame.f_lineno, self._path(path, frame))
            if library is None and is_code(file):
                library = Place(file, frame.f_lineno)
        found = library or Place()
        return Place(found.file, found.line, path)

    def _frames(self) -> Iterator[FrameType]:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not self._within:
            yield frame
            frame = frame.f_back

    def _path(self, path: str | None, frame: FrameType | None) -> str | None:
        """The path found so far, else that of the nearest module further out."""
        while path is None and frame is not None and frame.f_code is not self._within:
            path = self._paths.get(id(frame.f_locals.get("self")))
            frame = frame.f_back
        return path

    def of_error(self, error: BaseException) -> Place:
        told, path = place_of(error, self.module)
        name, _, line = (told or "").rpartition(":")
        return (
            Place(self._files.get(name, name), int(line), path) if name else Place(None, None, path)
        )

    def of_node(self, node: torch.fx.Node) -> Place:
        """Where the operation of an exported program stands in the source."""
        frames = [(m["file"], int(m["line"])) for m in _FRAME.finditer(node.stack_trace or "")]
        known = [frame for frame in frames if is_code(frame[0])]
        own = [frame for frame in known if is_own(frame[0])] or known
        file, line = own[-1] if own else (None, None)
        return Place(file, line, self._path_of(node))

    def _path_of(self, node: torch.fx.Node) -> str | None:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if not stack:
            return None
        path = str(stack[-1][0])
        return unprefixed(path) if isinstance(self.module, Adapter) else path

    def of_line(self, told: str | None, module_path: str | None) -> Place:
        """From `net.py:12`, as provenance keeps it."""
        name, _, line = (told or "").rpartition(":")
        if not name:
            return Place(None, None, module_path)
        return Place(self._files.get(name, name), int(line), module_path)

    def of_forward(self, path: str = "") -> Place:
        """The line where the forward of a module begins."""
        owner = self.module.module if isinstance(self.module, Adapter) else self.module
        try:
            code = inspect.unwrap(type(owner.get_submodule(path)).forward).__code__
        except AttributeError:
            return Place(None, None, path)
        if not is_code(code.co_filename):
            return Place(None, None, path)
        return Place(code.co_filename, code.co_firstlineno, path)

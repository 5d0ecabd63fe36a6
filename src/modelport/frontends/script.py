"""A TorchScript file, traced or scripted, as a source; or a whole module that was pickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelport.errors import SourceError, UsageError
from modelport.frontends.explain import first_sentence, quiet
from modelport.frontends.inputs import read_inputs
from modelport.frontends.options import EXPORTERS, TORCHSCRIPT, ExportOptions
from modelport.frontends.source import Source
from modelport.frontends.torch_module import TorchModule


class Script(TorchModule):
    """Loops and branches of scripted code stay: they become Loop and If."""

    exporters: tuple[str, ...] = (TORCHSCRIPT,)

    def __init__(self, source: Source, options: ExportOptions) -> None:
        model = source.model
        loaded = model if isinstance(model, nn.Module) else _load(Path(model), options.trust)
        if not isinstance(loaded, torch.jit.ScriptModule):
            self.exporters = EXPORTERS
        elif options.outputs or options.module is not None:
            raise UsageError(
                "A TorchScript file has no modules left that could be cut out",
                hint="Leave --module and --outputs out, or start from the module",
            )
        default = Path(model).stem if not isinstance(model, nn.Module) else "script"
        self._begin(source, default, options)
        inputs = read_inputs(source.inputs, loaded)
        self._set_up(loaded.eval(), inputs)


def _load(path: Path, trust: bool) -> nn.Module:
    if not path.is_file():
        raise SourceError(f"There is no file {path}", hint="Check the path")
    try:
        with quiet():
            loaded: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            return loaded
    except Exception as error:
        if not _is_pickle(error, path):
            raise SourceError(
                f"{path} cannot be read as TorchScript ({first_sentence(error)})",
                expected="a file written by torch.jit.save",
                hint="Check that the file is complete",
            ) from error
    return _unpickled(path, trust)


def _is_pickle(error: Exception, path: Path) -> bool:
    """Whether torch.save wrote it: such an archive has no code, an old one is a bare pickle."""
    with path.open("rb") as file:
        head = file.read(2)
    return "constants.pkl" in str(error) or head in _PICKLES


_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))
"""How a bare pickle begins."""


def _unpickled(path: Path, trust: bool) -> nn.Module:
    """What torch.save wrote: weights are no model, and a module could run any code when it is read."""
    try:
        with quiet():
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            raise SourceError(
                f"{path} is a pickle of a whole module, and reading it can run any code in it",
                hint="Pass --trust if you know where the file comes from; better, keep its state_dict "
                "and pass FILE.py:FUNCTION with --weights",
            ) from error
        content = _trusted(path)
    if isinstance(content, dict):
        content = content.get("model", content)
    if not isinstance(content, nn.Module):
        raise SourceError(
            f"{path} holds weights and no model",
            expected="a TorchScript file, or the code that builds the model",
            hint=f"Pass FILE.py:FUNCTION as the source, and --weights {path.name}",
        )
    return content.float()


def _trusted(path: Path) -> Any:
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise SourceError(
            f"{path} cannot be unpickled: {type(error).__name__}: {first_sentence(error)}",
            hint="The classes of its modules must be importable: install their package, or run in "
            "the folder of the code that saved it",
        ) from error

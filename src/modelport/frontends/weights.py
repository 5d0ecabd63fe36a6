"""Loads a state dict into a module, never unpickling code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelport.errors import WeightsError
from modelport.frontends.explain import quiet

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
"""Keys under which training scripts keep the state dict inside a checkpoint."""


def load_weights(module: nn.Module, path: Path, *, trust: bool = False) -> None:
    """Loads `.pth`/`.pt` or `.safetensors` into the module, every key or none.

    Args:
        trust: whether a file that holds more than tensors may be unpickled, which can run any code.

    Raises:
        WeightsError: where the file cannot be read, or its keys or shapes do not fit.
    """
    state = _strip_prefix(_state_dict(_read(path, trust), path), module)
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    surplus = [key for key in state if key not in own]
    misfits = [
        f"{key} is {_shape(state[key])}, the module has {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    # A counter of batches seen is in the module but not in older checkpoints, and changes nothing.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or surplus or misfits:
        raise WeightsError(
            f"The weights in {path} do not fit the module: "
            + "; ".join(
                part
                for part in (
                    _listing("missing", missing),
                    _listing("not in the module", surplus),
                    _listing("of another shape", misfits),
                )
                if part
            ),
            expected=f"the {len(own)} keys of {type(module).__name__}",
            hint="Check that the file belongs to this architecture and number of classes",
        )
    module.load_state_dict(state, strict=False)


def read_state_dict(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a weights file by name; raises WeightsError where it cannot be read."""
    return _state_dict(_read(path, trust), path)


def _read(path: Path, trust: bool) -> Any:
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}", hint="Check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, or no weights at all, and loading it could run code",
            expected="a state dict of tensors",
            hint="Save it again with torch.save(model.state_dict(), path), or as .safetensors; pass "
            "--trust only if you know where the file comes from",
        ) from error
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({' '.join(str(error).split())[:160]})",
            expected="a .pth/.pt file written by torch.save, or a .safetensors file",
            hint="Check that the file is complete",
        ) from error


def _state_dict(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(loaded, nn.Module):  # unpickled, by a user who trusts the file
        loaded = loaded.state_dict()
    if isinstance(loaded, Mapping):
        for key in _WRAPPERS:
            if isinstance(loaded.get(key), (Mapping, nn.Module)):
                return _state_dict(loaded[key], path)
        if loaded and all(isinstance(value, torch.Tensor) for value in loaded.values()):
            return {str(key): value for key, value in loaded.items()}
    raise WeightsError(
        f"{path} holds no state dict",
        expected="a mapping of names to tensors, or one under a key such as 'state_dict'",
        hint="Save it with torch.save(model.state_dict(), path)",
    )


def _strip_prefix(state: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Undoes the prefix that DataParallel and torch.compile put before every key."""
    own = module.state_dict()
    for prefix in ("module.", "_orig_mod."):
        if all(key.startswith(prefix) for key in state) and not any(key in own for key in state):
            return {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"


def _listing(title: str, items: list[str], most: int = 5) -> str:
    if not items:
        return ""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return f"{title} ({len(items)}): {', '.join(items[:most])}{more}"

"""From a path to something a predictor takes: a bundle of ours, or what another toolkit wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.bundle.manifest import MANIFEST_NAME
from modelport.bundle.read import Bundle
from modelport.errors import BundleFormatError, UsageError

if TYPE_CHECKING:
    from modelport.runtime.transforms import Transform


def opened(path: str | Path) -> Bundle:
    """Opens what is at that path.

    Raises:
        BundleError: where there is nothing, or nothing that modelport opens.
    """
    path = Path(path)
    if not path.exists() or (path / MANIFEST_NAME).is_file():
        return Bundle(path)
    from modelport.runtime.foreign import FOREIGN, opener_of

    opener = opener_of(path)
    if opener is not None:
        return opener.open(path)
    if path.is_dir():
        known = "; ".join(f"{each.summary} ({each.marks})" for each in map(FOREIGN.get, FOREIGN))
        raise BundleFormatError(
            f"{path} has no {MANIFEST_NAME}",
            expected=f"a bundle written by modelport deploy; or {known}",
        )
    return Bundle(path)


def described(
    path: str | Path,
    *,
    task: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    transforms: Sequence[Transform] | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
) -> Bundle:
    """Opens a network that says little of itself, such as a bare `.tflite` or `.onnx` file.

    Args:
        task, parameters, transforms, labels, name: as of a `modelport.Source`; what is left out stays
            as the file says it.

    Raises:
        BundleError: where there is nothing, or nothing that modelport opens.
        UsageError: where it is a bundle of modelport, which says all of that itself.
    """
    bundle = opened(path)
    from modelport.runtime.foreign.base import ForeignBundle

    if not isinstance(bundle, ForeignBundle):
        raise UsageError(
            f"{path} is a bundle of modelport, which has its own task and transforms",
            hint="Open it with modelport.load",
        )
    return bundle.described(
        task=task, parameters=parameters, transforms=transforms, labels=labels, name=name
    )

"""From a path to something a predictor takes: a bundle of ours, or what another toolkit wrote."""

from __future__ import annotations

from pathlib import Path

from modelport.bundle.manifest import MANIFEST_NAME
from modelport.bundle.read import Bundle
from modelport.errors import BundleFormatError


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

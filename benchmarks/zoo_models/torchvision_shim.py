"""Makes torchvision importable beside a CPU build of torch, before timm or transformers need it."""

from __future__ import annotations


def prepare() -> None:
    """Supplies torchvision's operators where its own library does not load; both sides get them."""
    from modelport.codebases.torchvision_operators import import_torchvision

    import_torchvision()

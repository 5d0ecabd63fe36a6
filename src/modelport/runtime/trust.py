"""Which variants of a bundle run native code that the bundle brings or asks for."""

from __future__ import annotations

from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle
from modelport.engines.libraries import OPERATOR_PACKAGES, OPERATORS
from modelport.errors import BundleError

_PACKAGES = ("onnxruntime_extensions",)
"""Well known: using one that is installed is like using the engine itself."""


def native_code(variant: VariantEntry) -> list[str]:
    """Paths of the libraries in the bundle, and names of packages, that run when it is loaded."""
    paths = [path for role, path in sorted(variant.files.items()) if role.startswith(OPERATORS)]
    packages = variant.options.get(OPERATOR_PACKAGES, ())
    named = [packages] if isinstance(packages, str) else list(packages)
    return paths + [f"the package {name}" for name in named if name not in _PACKAGES]


def refusal(bundle: Bundle, variant: VariantEntry, trust: bool) -> BundleError | None:
    """Why the variant is not loaded, unless its native code is trusted; None where it may be."""
    code = native_code(variant)
    if trust or not code:
        return None
    others = [entry.name for entry in bundle.variants if not native_code(entry)]
    instead = f"; or choose the variant {' or '.join(others)}, which brings none" if others else ""
    return BundleError(
        f"The variant {variant.name} of {bundle.path} brings native code, which runs when it is "
        f"loaded: {', '.join(code)}",
        hint="Pass trust=True, or --trust, if you know where the bundle comes from" + instead,
    )

"""Writes the report of a bundle: one page, complete in itself.

Names, labels and reasons come from the user's data and from other programs, so all of them are
escaped, and the page forbids itself scripts and the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.bundle.manifest import Manifest
from modelport.errors import BundleError, UsageError
from modelport.report import plot, view, words
from modelport.report.data import ReportCase

if TYPE_CHECKING:
    import jinja2

_TEMPLATE = "page.html.j2"


def check_installed() -> None:
    """Raises UsageError where a package that the report needs is missing.

    A job that takes minutes calls this before it starts, rather than fail at its last step.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise UsageError(
                f"The report needs {package}, which is not installed",
                hint='Install it with: pip install "modelport[report]"',
            )


def write_report(manifest: Manifest, cases: Sequence[ReportCase], path: Path) -> None:
    """Writes one self-contained HTML page. Equal arguments give equal bytes.

    An existing file is replaced; a failure leaves it as it was.

    Raises:
        UsageError: jinja2 or matplotlib is not installed.
        BundleError: nothing can be written at `path`.
    """
    check_installed()
    page = render(manifest, cases)
    partial = path.with_name(f".{path.name}.partial")
    try:
        # File names that are no valid text reach us as lone surrogates, which UTF-8 cannot hold.
        partial.write_bytes(page.encode("utf-8", errors="backslashreplace"))
        os.replace(partial, path)
    except OSError as error:
        raise BundleError(
            f"The report cannot be written at {path} ({error.strerror})",
            hint="Choose a folder that exists and can be written to",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def render(manifest: Manifest, cases: Sequence[ReportCase]) -> str:
    """The page as text."""
    from markupsafe import Markup

    drawings = plot.draw(manifest.variants, manifest.provenance.budget)
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            manifest=manifest,
            provenance=manifest.provenance,
            signature=manifest.signature.to_signature(),
            chosen=view.chosen_variant(manifest),
            verdict=view.verdict(manifest),
            facts=view.facts(manifest, cases),
            # The drawing is ours, serialised from a tree; its labels are escaped there.
            plots={layout: Markup(svg) for layout, svg in drawings.items()},  # noqa: S704
            unplotted=[each.name for each in manifest.variants if not plot.is_measured(each)],
            variants=view.ordered_variants(manifest),
            loss_meaning=view.loss_meaning(manifest),
            operators=view.operator_rows(manifest.provenance),
            operator_total=view.operator_total(manifest.provenance),
            passes=view.pass_views(manifest.provenance),
            cases=view.case_views(cases),
            transforms=view.transform_views(manifest),
        )
    )


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelport.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "ms": words.milliseconds,
        "mb": words.megabytes,
        "decimals": words.decimal,
        "significant": words.significant,
        "dash": words.or_dash,
        "count": words.count,
        "parameters": view.parameters,
        "extra_reasons": view.extra_reasons,
        "count_agreeing": lambda cases: sum(each.case.agrees for each in cases),
    }
    return environment

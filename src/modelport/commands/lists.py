"""Commands that list what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from modelport.commands.common import Json, out, print_json, show_list


def edits(as_json: Json = False) -> None:
    """List the edits that move work into the graph, or out of it into the decode step."""
    from modelport.deployment.edits import EDITS

    rows = [{"name": name, "does": EDITS.get(name).summary} for name in EDITS]
    show_list("edit", rows, as_json)


def passes(as_json: Json = False) -> None:
    """List the passes in the order they run, for which engines, with the reason for their place."""
    from modelport.engines import ENGINES
    from modelport.passes import PASSES
    from modelport.passes.pipelines import PER_ENGINE, PORTABLE

    reasons = dict(PORTABLE)
    served = {
        name: [n for n in ENGINES if name in ENGINES.get(n).rules.legalize] for name in PASSES
    }
    for engine, steps in PER_ENGINE.items():
        for name, reason in steps:
            reasons.setdefault(name, reason)
            served[name].append(engine)
    rows = []
    for name in sorted(PASSES, key=[*reasons, *PASSES].index):
        step = PASSES.get(name)
        exact = "exact" if step.exact else "up to rounding"
        engines = "all" if name in dict(PORTABLE) else ", ".join(dict.fromkeys(served[name]))
        rows.append(
            {
                "name": name,
                "does": step.summary,
                "result": exact,
                "engines": engines or "none unless asked for",
                "why here": reasons.get(name, ""),
            }
        )
    show_list("pass", rows, as_json)


def schemes(as_json: Json = False) -> None:
    """List the quantization schemes."""
    from modelport.quantize import SCHEMES
    from modelport.quantize.nncf import available

    rows = [
        {"name": name, "does": SCHEMES.get(name).summary, "status": available() or "ready"}
        for name in SCHEMES
    ]
    show_list("scheme", rows, as_json)


def tasks(as_json: Json = False) -> None:
    """List the tasks."""
    from modelport.runtime.tasks import TASKS

    rows = [{"name": name, "gives": TASKS.get(name).summary} for name in TASKS]
    show_list("task", rows, as_json)


def openers(as_json: Json = False) -> None:
    """List what `run` opens besides bundles: the formats of other toolkits."""
    from modelport.runtime.foreign import FOREIGN

    rows = [{"name": name, "opens": FOREIGN.get(name).summary} for name in FOREIGN]
    show_list("opener", rows, as_json)


def transforms(as_json: Json = False) -> None:
    """List the transforms."""
    from modelport.runtime.transforms import TRANSFORMS

    rows = []
    for name in TRANSFORMS:
        kind = TRANSFORMS.get(name)
        does = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append({"name": name, "of": kind.medium, "does": does})
    show_list("transform", rows, as_json)


def rewrites(
    name: Annotated[str | None, typer.Argument(help="Explain this one.")] = None,
    as_json: Json = False,
) -> None:
    """List the rewrites, or explain one: what it replaces while exporting, and who needs it."""
    from modelport.frontends.rewrites import REWRITES, rows

    if name is not None:
        REWRITES.get(name)
    found = [row for row in rows() if name in (None, row["name"])]
    if as_json:
        print_json(found)
    elif name is None:
        columns = ("name", "target", "needed_by", "status")
        show_list("rewrite", [{c: row[c] for c in columns} for row in found], as_json)
    else:
        for key, text in found[0].items():
            out.print(f"{key.replace('_', ' ')}: {text}", markup=False, highlight=False)


def codebases(as_json: Json = False) -> None:
    """List the model libraries whose models can be named, as in timm:resnet18."""
    from modelport.codebases import CODEBASES

    rows = []
    for name in CODEBASES:
        codebase = CODEBASES.get(name)
        rows.append(
            {"name": name, "does": codebase.summary, "status": codebase.available() or "ready"}
        )
    show_list("codebase", rows, as_json)

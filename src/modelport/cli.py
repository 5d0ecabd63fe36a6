"""The command line: one command for each public function, of the same name."""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelport import __version__
from modelport.errors import ModelportError, UsageError
from modelport.show import show_bundle, show_check, show_optimized, show_overview, show_results

if TYPE_CHECKING:
    from modelport.runtime.predictor import Predictor


app = typer.Typer(
    name="modelport",
    help="Takes trained models to production: one verified, optimised bundle, run without PyTorch.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Threads = Annotated[
    int, typer.Option(min=0, help="Threads of the engine; 0 leaves it to the engine.")
]


STOPPED = 130
"""Status of a program that the user interrupts; typer gives it too."""


@app.callback(invoke_without_command=True)
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


@app.command()
def deploy(
    source: Annotated[str, typer.Argument(help="FILE.py:FUNCTION or a path to an .onnx file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder, or file ending in .zip.")],
    weights: Annotated[Path | None, typer.Option(help="State dict: .pth or .safetensors.")] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(help="Input such as image=1x3x224x224 or image=1..16x3x224x224; repeatable."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures, .npy or .npz for int8 and fidelity.")
    ] = None,
    verification: Annotated[
        Path | None, typer.Option(help="Such a folder for measuring fidelity on other data.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Largest accepted loss of fidelity, 1% say.")] = "1%",
    engines: Annotated[str | None, typer.Option(help="Names joined by commas.")] = None,
    precisions: Annotated[str | None, typer.Option(help="fp32,bf16,int8: those to try.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one to a line.")] = None,
    task: Annotated[str | None, typer.Option(help="A name of `modelport tasks`.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    output_names: Annotated[str | None, typer.Option(help="Names joined by commas.")] = None,
    opset: Annotated[int | None, typer.Option(help="Opset to export.")] = None,
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle.")] = False,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    as_json: Json = False,
) -> None:
    """Take a trained model to a verified bundle whose fastest good variant runs by default."""
    from modelport.deploy import STAGES
    from modelport.deploy import deploy as run_deploy
    from modelport.progress import Silent, Told

    with nullcontext(Silent()) if as_json else Told(err, STAGES) as progress:
        bundle = run_deploy(
            source,
            input,
            output=output,
            weights=weights,
            calibration=calibration,
            verification=verification,
            budget=budget,
            engines=_split(engines),
            precisions=_split(precisions),
            task=task,
            labels=labels,
            licence=licence,
            name=name,
            opset=opset,
            output_names=_split(output_names),
            threads=threads,
            overwrite=overwrite,
            report=report,
            progress=progress,
        )
    if as_json:
        _print_json(bundle.manifest.model_dump(mode="json"))
    else:
        show_bundle(out, bundle)


@app.command()
def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Pictures, .npy or .npz feeds, or folders of them.")
    ],
    variant: Annotated[str | None, typer.Option(help="Run this variant.")] = None,
    threads: Threads = 0,
    draw: Annotated[Path | None, typer.Option(help="Folder for pictures with the result.")] = None,
    as_json: Json = False,
) -> None:
    """Answer for pictures: the result, and the time of each stage."""
    from modelport.feeds import sample_files
    from modelport.runtime.drawing import save_drawing
    from modelport.runtime.predictor import load

    with load(bundle, variant=variant, threads=threads) as predictor:
        files = [file for path in inputs for file in sample_files(path)]
        _answer(predictor, files[0])  # the first call of an engine allocates, and would be timed
        results = [_answer(predictor, file) for file in files]
        if draw is not None:
            for file, result in zip(files, results, strict=True):
                save_drawing(predictor, file, result, draw)
        if as_json:
            pairs = zip(files, results, strict=True)
            _print_json(
                [
                    {"file": str(file), **result.to_json(), "timing_ms": dict(result.timing_ms)}
                    for file, result in pairs
                ]
            )
        else:
            show_results(out, predictor, files, results)


def _answer(predictor: Predictor, file: Path) -> Any:
    """The result for a picture, or for ready feeds in a file of arrays."""
    from modelport.feeds import ARRAY_SUFFIXES, read_arrays

    if file.suffix.lower() not in ARRAY_SUFFIXES:
        return predictor(file)
    feeds = read_arrays(file, predictor.bundle.signature)
    return predictor(feeds) if predictor.pipeline is None else predictor.infer(feeds)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Prove a bundle again on this machine, from its own golden cases."""
    from modelport.verify.bundle import verify as run_verify

    check = run_verify(bundle, threads=threads)
    if as_json:
        _print_json(check.to_json())
    else:
        show_check(out, check)
    if not check.passed:
        raise typer.Exit(2)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A bundle, or an .onnx file.")], as_json: Json = False
) -> None:
    """Show the signature, size, operators and cost of a bundle or an ONNX file."""
    from modelport.inspection import inspect as run_inspect

    overview = run_inspect(path)
    if as_json:
        _print_json(overview.to_json())
    else:
        show_overview(out, overview)


@app.command()
def optimize(
    model: Annotated[Path, typer.Argument(help="An .onnx file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    check: Annotated[bool, typer.Option(help="Compare the results on two random feeds.")] = True,
    why_not: Annotated[
        str | None, typer.Option(help="Say what this pass left alone, and why.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Optimise an ONNX file; every pass is checked and rolled back if it changes the results."""
    from modelport.graph import io
    from modelport.optimization import optimize as run_optimize
    from modelport.passes import PASSES

    if output is None and why_not is None:
        raise UsageError(
            "There is nothing to do with the result", hint="Pass -o FILE or --why-not PASS"
        )
    if why_not is not None:
        PASSES.get(why_not)
    if output is not None and output.suffix != ".onnx":
        raise UsageError(f"The output {output} is no ONNX file", expected="a name ending in .onnx")
    optimized = run_optimize(model, check=check)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        io.save(optimized.model, output)
    if as_json:
        _print_json([record.to_json() for record in optimized.records])
    else:
        show_optimized(out, optimized, why_not)


@app.command()
def engines(as_json: Json = False) -> None:
    """List the engines, and whether this machine can use them."""
    from modelport.engines import ENGINES
    from modelport.types import Target

    rows = []
    for name in ENGINES:
        engine = ENGINES.get(name)
        here = [p for p in engine.precisions if engine.refuses(Target(precision=p)) is None]
        reason = engine.available()
        rows.append(
            {
                "name": name,
                "version": engine.version(),
                "precisions": ", ".join(here),
                "status": reason or ("ready" if engine.deployable else "ready (for tests)"),
            }
        )
    _list("engine", rows, as_json)


@app.command()
def passes(as_json: Json = False) -> None:
    """List the passes in the order they run, with the reason for that order."""
    from modelport.passes import PASSES
    from modelport.passes.pipelines import PORTABLE

    reasons = dict(PORTABLE)
    rows = []
    for name in sorted(PASSES, key=[*reasons, *PASSES].index):
        step = PASSES.get(name)
        exact = "exact" if step.exact else "up to rounding"
        rows.append(
            {"name": name, "does": step.summary, "result": exact, "why here": reasons.get(name, "")}
        )
    _list("pass", rows, as_json)


@app.command()
def schemes(as_json: Json = False) -> None:
    """List the quantization schemes."""
    from modelport.quantize import SCHEMES
    from modelport.quantize.nncf import available

    rows = [
        {"name": name, "does": SCHEMES.get(name).summary, "status": available() or "ready"}
        for name in SCHEMES
    ]
    _list("scheme", rows, as_json)


@app.command()
def tasks(as_json: Json = False) -> None:
    """List the tasks."""
    from modelport.runtime.tasks import TASKS

    rows = [{"name": name, "gives": TASKS.get(name).summary} for name in TASKS]
    _list("task", rows, as_json)


def _list(kind: str, rows: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        _print_json(rows)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0]:
        table.add_column(kind if column == "name" else column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row.values()))  # as it is, brackets included
    out.print(table)


def _split(names: str | None) -> list[str] | None:
    return [name.strip() for name in names.split(",") if name.strip()] if names else None


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, ensure_ascii=False))


def main() -> None:
    """Entry point: errors meant for the user are one paragraph and status 2."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    warnings.showwarning = _show_warning
    try:
        status = app(args=arguments or ["--help"], prog_name="modelport", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = STOPPED
    except Exception as error:
        words = _paragraph(error)
        if words is None:
            raise
        if debug:
            err.print_exception()
        err.print(Text.assemble(("Error:", "bold red"), f" {words}"))
        sys.exit(2)
    if status == STOPPED:
        err.print("Stopped.")
    sys.exit(status or 0)


_EXTRAS = {"onnx": "onnx", "onnx_ir": "onnx", "onnxscript": "torch", "torch": "torch"}
"""Packages that a production machine lacks, and the extra that brings each."""


def _paragraph(error: Exception) -> str | None:
    """What the user reads of an error; None for one that is our own mistake."""
    if isinstance(error, ModelportError):
        return " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and (error.name or "") in _EXTRAS:
        return (
            f"This needs the package {error.name}, which is not installed. "
            f'Install it with: pip install "modelport[{_EXTRAS[error.name or ""]}]".'
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}."
    if hasattr(error, "format_message"):  # typer keeps click's classes under a private name
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "modelport"
        return f"{error.format_message().rstrip('.')}. See {command} --help."
    return None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    err.print(Text.assemble(("Note:", "yellow"), f" {message}"))


if __name__ == "__main__":
    main()

"""The command line: one command for each public function, of the same name."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from rich.text import Text

from modelport import __version__
from modelport.commands import (
    bundles,
    check,
    deploy,
    edit,
    end_to_end,
    engines,
    export,
    graphs,
    lists,
    run,
    surgery,
    tune,
    view,
)
from modelport.commands.common import err, out
from modelport.errors import ModelportError

app = typer.Typer(
    name="modelport",
    help="Takes trained models to production: one verified, optimised bundle, run without PyTorch.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


for command in (
    check.check,
    deploy.deploy,
    tune.tune,
    export.export,
    end_to_end.export_end_to_end,
    run.run,
    bundles.verify,
    graphs.inspect,
    graphs.optimize,
    surgery.extract,
    surgery.merge,
    surgery.diff,
    view.view,
    lists.codebases,
    lists.edits,
    lists.openers,
    lists.passes,
    lists.rewrites,
    lists.schemes,
    lists.tasks,
    lists.transforms,
):
    app.command()(command)
app.command(cls=edit.InOrder)(edit.edit)
app.add_typer(engines.group)


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


_EXTRAS = {
    "onnx": "onnx",
    "onnx_ir": "onnx",
    "onnxscript": "torch",
    "torch": "torch",
    "yaml": "onnx",
}
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

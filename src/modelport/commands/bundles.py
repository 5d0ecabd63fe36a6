"""Commands that use a bundle: `run` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport.commands.common import (
    Device,
    Isolated,
    Json,
    Memory,
    Threads,
    WarmUp,
    out,
    print_json,
    running_of,
)
from modelport.show import show_check, show_results

if TYPE_CHECKING:
    from modelport.runtime.predictor import Predictor


Trust = Annotated[bool, typer.Option("--trust", help="Run native code that the bundle brings.")]


def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Pictures, .npy or .npz feeds, or folders of them.")
    ],
    variant: Annotated[str | None, typer.Option(help="Run this variant.")] = None,
    threads: Threads = 0,
    device: Device = None,
    isolated: Isolated = False,
    memory: Memory = None,
    warm_up: WarmUp = 1,
    trust: Trust = False,
    draw: Annotated[Path | None, typer.Option(help="Folder for pictures with the result.")] = None,
    as_json: Json = False,
) -> None:
    """Answer for pictures: the result, and the time of each stage."""
    from modelport.feeds import sample_files
    from modelport.runtime.drawing import save_drawing
    from modelport.runtime.predictor import Predictor

    running = running_of(threads, device, isolated, memory, warm_up)
    with Predictor(bundle, variant=variant, trust=trust, **running) as predictor:
        files = [file for path in inputs for file in sample_files(path)]
        _answer(predictor, files[0])  # the first call of an engine allocates, and would be timed
        results = [_answer(predictor, file) for file in files]
        if draw is not None:
            for file, result in zip(files, results, strict=True):
                save_drawing(predictor, file, result, draw)
        if as_json:
            pairs = zip(files, results, strict=True)
            print_json(
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
    return predictor(feeds) if predictor.preprocessor is None else predictor.infer(feeds)


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    threads: Threads = 0,
    device: Device = None,
    isolated: Isolated = False,
    memory: Memory = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Prove a bundle again on this machine, from its own golden cases."""
    from modelport.verify.bundle import verify as run_verify

    check = run_verify(bundle, trust=trust, **running_of(threads, device, isolated, memory))
    if as_json:
        print_json(check.to_json())
    else:
        show_check(out, check)
    if not check.passed:
        raise typer.Exit(2)

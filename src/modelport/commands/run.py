"""The command `run`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
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
    err,
    out,
    print_json,
    running_of,
)
from modelport.errors import DataError, UsageError

if TYPE_CHECKING:
    from modelport.commands.run_show import Teller
    from modelport.runtime.sinks import Sink
    from modelport.runtime.sources import Item, Source
    from modelport.runtime.steps import Steps
    from modelport.runtime.tasks.base import Result

Trust = Annotated[bool, typer.Option("--trust", help="Run native code that the bundle brings.")]
SOME_FAILED = 1
"""Status where some inputs could not be answered; 2 where none could, or the command is wrong."""


def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or a pipeline of bundles.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, videos, recordings or texts; .npy or .npz feeds; folders and patterns of "
            "them; camera:0; - for standard input."
        ),
    ],
    variant: Annotated[str | None, typer.Option(help="Run this variant.")] = None,
    threads: Threads = 0,
    device: Device = None,
    isolated: Isolated = False,
    memory: Memory = None,
    warm_up: WarmUp = 1,
    trust: Trust = False,
    lists: Annotated[
        bool, typer.Option("--list", help="Inputs are texts that name files, one to a line.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Of a video, take each so manieth frame.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many inputs.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Inputs that run together, where the model allows.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that read inputs meanwhile.")
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(min=1, help="Sessions side by side; by default as many as are likely to pay."),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Folder for pictures and videos with the result.")
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option(help="File of a JSON object to a line; - for standard output.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="File with a row for each thing found.")
    ] = None,
    coco: Annotated[
        Path | None, typer.Option(help="File in COCO's format of results, of objects.")
    ] = None,
    coco_ids: Annotated[
        Path | None, typer.Option(help="COCO annotations whose ids --coco takes.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no result.")] = False,
    as_json: Json = False,
) -> None:
    """Answer for inputs: the results, and the time of each stage.

    Leaves with status 1 where some inputs failed, and with 2 where all did.
    """
    from modelport.commands.run_show import Teller
    from modelport.runtime.loading import load
    from modelport.runtime.sources import sources_of

    running = running_of(threads, device, isolated, memory, warm_up)
    with load(bundle, variant=variant, trust=trust, **running) as answers:
        sources = sources_of(inputs, medium=_medium(answers), every=every, lists=lists)
        live = any(source.endless for source in sources)
        sinks = _sinks(answers, draw, jsonl, csv, coco, coco_ids)
        lines = not (quiet or as_json or jsonl == STANDARD)
        total = _total(sources, limit)
        teller = Teller(out, err, answers, lines=lines, total=total)
        kept: list[dict[str, Any]] = []
        takers = [teller.tell, _keeper(kept)] if as_json else [teller.tell]
        waits = any(source.waits for source in sources)
        batch = 1 if (live or waits) and batch is None else batch
        steps = _steps(answers, 1 if live or waits else streams, total)
        with teller, closing(_items(sources, limit)) as items:
            _answer(
                steps, items, sinks, takers, live=live, batch=batch, workers=workers,
                in_flight=batch if waits else None,
            )  # fmt: skip
        teller.finish()
        if as_json:
            print_json(kept)
        _leave(teller)


STANDARD = Path("-")
"""Stands for standard output."""

Take = Callable[["Item", "Result"], None]


def _steps(answers: Any, streams: int | None, total: int | None) -> Steps:
    """Those of the predictor, with the sessions that were asked for."""
    from modelport.runtime.sources.steps import ItemSteps

    if streams is None:
        streams = answers.fitting_streams() if total is None else answers.fitting_streams(total)
    return ItemSteps(answers, answers.side_by_side(streams))


def _answer(
    steps: Steps,
    items: Iterable[Item],
    sinks: Sequence[Sink],
    takers: Sequence[Take],
    *,
    live: bool,
    batch: int | None,
    workers: int | None,
    in_flight: int | None,
) -> None:
    """Answers for all items. Of a camera, the user's stop is the end, and not a failure."""
    from modelport.runtime.mapping import Mapped
    from modelport.runtime.sinks import opened

    pulled: deque[Item] = deque()
    notes: list[str] = []
    try:
        with (
            opened(sinks, notes),
            Mapped(
                steps,
                _remembered(_until_stopped(items) if live else items, pulled),
                batch=batch,
                workers=workers,
                in_flight=in_flight,
            ) as mapped,
        ):
            try:
                for result in mapped:
                    item = pulled.popleft()
                    for take in (*takers, *(sink.write for sink in sinks)):
                        take(item, result)
            except KeyboardInterrupt:
                if not live:
                    raise
    finally:
        for note in notes:
            err.print(f"Note: {note}.", highlight=False, markup=False)


def _items(sources: Iterable[Source], limit: int | None) -> Generator[Item, None, None]:
    left = limit
    for source in sources:
        with closing(iter(source)) as items:
            for item in items:
                yield item
                left = None if left is None else left - 1
                if left == 0:
                    return


def _until_stopped(items: Iterable[Item]) -> Iterator[Item]:
    """A stop while a camera is waited for ends its frames; those under way are still answered."""
    try:
        yield from items
    except KeyboardInterrupt:
        return


def _remembered(items: Iterable[Item], pulled: deque[Item]) -> Iterator[Item]:
    """Results come in the order of the items, and are told with theirs."""
    for item in items:
        pulled.append(item)
        yield item


def _total(sources: Sequence[Source], limit: int | None) -> int | None:
    counts = [source.count() for source in sources]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return limit
    return sum(known) if limit is None else min(limit, sum(known))


def _medium(answers: Any) -> str:
    """What the model takes; a chain of models takes pictures."""
    preprocessor = getattr(answers, "preprocessor", None)
    return "picture" if preprocessor is None else str(preprocessor.medium)


def _sinks(
    answers: Any,
    draw: Path | None,
    jsonl: Path | None,
    csv: Path | None,
    coco: Path | None,
    coco_ids: Path | None,
) -> list[Sink]:
    from modelport.runtime.sinks import coco as in_coco
    from modelport.runtime.sinks import drawings, lines, table

    sinks: list[Sink] = []
    if coco_ids is not None and coco is None:
        raise UsageError("--coco-ids is given without --coco", hint="Add --coco FILE")
    if coco is not None:
        ids = None if coco_ids is None else in_coco.Ids.read(coco_ids)
        sinks.append(in_coco.Coco(coco, ids))
    if csv is not None:
        sinks.append(table.Table(csv))
    if draw is not None:
        sinks.append(drawings.Drawings(draw, answers.task, drawings.orientation_of(answers)))
    if jsonl is not None:
        sinks.append(lines.JsonLinesOut() if jsonl == STANDARD else lines.JsonLines(jsonl))
    return sinks


def _keeper(kept: list[dict[str, Any]]) -> Take:
    from modelport.runtime.sinks.lines import json_of

    def keep(item: Item, result: Result) -> None:
        kept.append(json_of(item, result))

    return keep


def _leave(teller: Teller) -> None:
    """The status, and where nothing could be answered, why."""
    account = teller.account
    if not account.done:
        raise DataError(
            "There is nothing to answer for", hint="Check that the inputs are not empty"
        )
    if teller.only_error is not None:
        raise teller.only_error
    if not account.answered:
        raise DataError(
            f"None of the {account.done} inputs could be answered", hint="The reasons are above"
        )
    if account.failed:
        raise typer.Exit(SOME_FAILED)

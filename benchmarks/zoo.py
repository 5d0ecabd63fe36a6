"""The zoo: exports every model with modelport and with plain `torch.onnx.export`, and judges both.

    python benchmarks/zoo.py run --side plain --group hard
    python benchmarks/zoo.py table

Outcomes go to `benchmarks/.zoo/records.jsonl`, so a run goes on where the last one stopped. See
`docs/zoo.md`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from zoo_models import GROUPS, cases
from zoo_models.runner import LIMIT_S, Job, Records, all_jobs, run

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / ".zoo" / "records.jsonl"
COLOURS = {"correct": "green", "wrong": "red", "refused": "yellow"}


def main() -> None:
    arguments = _arguments()
    if arguments.command == "list":
        for group in arguments.group or GROUPS:
            for name in cases(group):
                print(f"{group} {name}")
    elif arguments.command == "run":
        _run(arguments)
    else:
        from zoo_models.table import publish

        publish(Records(arguments.records).read(), arguments.commit)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="list the models")
    ran = commands.add_parser("run", help="run what has no outcome yet")
    table = commands.add_parser("table", help="write the tables to benchmarks/results")
    for command in (listed, ran):
        command.add_argument("--group", action="append", choices=list(GROUPS))
    for command in (ran, table):
        command.add_argument("--records", type=Path, default=RECORDS)
        command.add_argument("--commit", default=_commit(), help="version that outcomes belong to")
    ran.add_argument("--side", action="append", choices=["ours", "plain"])
    ran.add_argument("--only", default="", help="models whose name contains this")
    ran.add_argument("--workers", type=int, default=1, choices=[1, 2])
    ran.add_argument(
        "--limit", type=int, default=LIMIT_S, help="seconds of processor time for each model"
    )
    ran.add_argument("--again", action="store_true", help="also what has an outcome already")
    return parser.parse_args()


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def _run(arguments: argparse.Namespace) -> None:
    groups = {
        group: [name for name in cases(group) if arguments.only in name]
        for group in arguments.group or GROUPS
    }
    records = Records(arguments.records)
    jobs = list(all_jobs(groups, arguments.side or ["ours", "plain"], arguments.commit))
    if not arguments.again:
        jobs = records.missing(jobs)
    console = Console()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("zoo", total=len(jobs))

        def done(job: Job, outcome: dict[str, Any]) -> None:
            records.add(job, outcome)
            bar.advance(task)
            console.print(_line(job, outcome), soft_wrap=True)

        run(jobs, workers=arguments.workers, limit_s=arguments.limit, done=done)


def _line(job: Job, outcome: dict[str, Any]) -> str:
    status = outcome["status"]
    seconds = outcome.get("seconds")
    took = "" if seconds is None else f" {seconds:.1f} s"
    colour = COLOURS.get(status, "magenta")
    return (
        f"[{colour}]{status:8}[/] {job.side:5} {escape(job.group)} {escape(job.model)}"
        f"[dim]{took} {escape(outcome.get('reason', ''))}[/]"
    )


if __name__ == "__main__":
    main()

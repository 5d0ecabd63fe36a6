"""What the benchmarks share: the model, the peer's files, fair turns, and the result table.

Every benchmark takes ours and the peer in turn within one process run, so that a slow minute of the
machine hits both; ratios of the medians are what it claims, and what it prints.
"""

from __future__ import annotations

import datetime
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
THREADS = 2
BUILD = ROOT / "build" / "benchmarks"
PAUSE_S = 0.06
"""Between turns: worker threads of ONNX Runtime spin for some 35 ms after a call unless told not to,
and would take a core from whoever comes next."""

sys.path.insert(0, str(ROOT / "scripts"))

from demo_data import demo_data  # noqa: E402

import modelport  # noqa: E402
from modelport.machine import describe_machine, versions  # noqa: E402


def photos() -> list[Path]:
    return sorted((demo_data() / "photos").iterdir())


def peer_onnx() -> Path:
    """What a user has without modelport: `torch.onnx.export` as it comes, in one call."""
    target = BUILD / "peer.onnx"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        code = f"""
import sys, torch
sys.path.insert(0, {str(ROOT / "examples")!r})
from mobilenet_v2 import MobileNetV2
model = MobileNetV2().eval()
model.load_state_dict(torch.load({str(demo_data() / "mobilenet_v2.pth")!r}, weights_only=True))
torch.onnx.export(model, (torch.randn(1, 3, 224, 224),), {str(target)!r}, dynamo=True,
                  external_data=False)
"""
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True
        )
    return target


def demo_bundle() -> Path:
    """The demo's bundle, deployed by the command that the README gives."""
    target = BUILD / "mobilenet_v2"
    if not target.exists():
        data = demo_data()
        command = [
            sys.executable, "-m", "modelport.cli", "deploy", "examples/mobilenet_v2.py:build",
            "--weights", data / "mobilenet_v2.pth", "--calibration", data / "calibration",
            "--labels", data / "labels.txt", "--budget", "1%", "--threads", str(THREADS),
            "-o", target,
        ]  # fmt: skip
        subprocess.run([str(part) for part in command], check=True, cwd=ROOT)
    return target


def draft_bundle() -> Path:
    """The same, with JPEGs decoded as drafts, and chosen for its fidelity on the photos themselves."""
    target = BUILD / "mobilenet_v2_draft"
    if not target.exists():
        data = demo_data()
        modelport.deploy(
            str(ROOT / "examples" / "mobilenet_v2.py:build"),
            transforms=modelport.transforms.imagenet(draft=True),
            weights=data / "mobilenet_v2.pth",
            calibration=data / "calibration",
            verification=data / "photos",
            labels=data / "labels.txt",
            budget="1%",
            threads=THREADS,
            output=target,
        )
    return target


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm: int,
    counted: int,
    pause_s: float = PAUSE_S,
) -> dict[str, list[float]]:
    """Milliseconds of each call by round: the median of the counted calls of its turn.

    A session of one thread has no workers that spin, so it needs no pause.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(pause_s)
            for _ in range(warm):
                call()
            turn = []
            for _ in range(counted):
                start = time.perf_counter()
                call()
                turn.append((time.perf_counter() - start) * 1e3)
            times[name].append(statistics.median(turn))
    return times


class Worker:
    """A contender in a process of its own, as its user would run it; it rests between its turns.

    Within one process two engines share cores, caches and thread pools even while one of them rests.
    """

    def __init__(self, make: Callable[[], Callable[[Path], object]], files: Sequence[Path]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(make, files, theirs), daemon=True)
        self._process.start()
        self._pipe.recv()

    def turn(self, passes: int) -> list[float]:
        """Milliseconds of each call over all files, after one pass that does not count."""
        self._pipe.send(passes)
        return list(self._pipe.recv())

    def close(self) -> None:
        self._pipe.send(0)
        self._process.join()


def _serve(
    make: Callable[[], Callable[[Path], object]], files: Sequence[Path], pipe: Connection
) -> None:
    answer = make()
    pipe.send("ready")
    while passes := pipe.recv():
        for file in files:
            answer(file)
        times = []
        for file in [*files] * passes:
            start = time.perf_counter()
            answer(file)
            times.append((time.perf_counter() - start) * 1e3)
        pipe.send(times)


def workers_in_turn(
    makers: Mapping[str, Callable[[], Callable[[Path], object]]],
    files: Sequence[Path],
    *,
    rounds: int,
    passes: int,
) -> dict[str, list[float]]:
    """For each contender the median milliseconds of each of its turns."""
    workers = {name: Worker(make, files) for name, make in makers.items()}
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, worker in workers.items():
            time.sleep(PAUSE_S)
            times[name].append(statistics.median(worker.turn(passes)))
    for worker in workers.values():
        worker.close()
    return times


def summary(times: Mapping[str, list[float]], peer: str) -> list[str]:
    """A table: median, 10th and 90th percentile, and how many times as fast as the peer."""
    base = statistics.median(times[peer])
    rows = ["| | median ms | 10 % | 90 % | times as fast |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, values in times.items():
        cuts = statistics.quantiles(values, n=10)
        median = statistics.median(values)
        rows.append(
            f"| {name} | {median:.3f} | {cuts[0]:.3f} | {cuts[-1]:.3f} | {base / median:.2f} |"
        )
    return rows


def publish(
    name: str,
    title: str,
    lines: Sequence[str],
    *,
    threads: int = THREADS,
    command: str | None = None,
) -> None:
    """Prints the result and writes it to `benchmarks/results/<name>.md` with date and machine."""
    machine = describe_machine()
    tools = versions()
    text = "\n".join(
        [
            f"# {title}",
            "",
            *lines,
            "",
            f"{datetime.date.today().isoformat()}, {machine['processor']}, {machine['cores']} cores, "
            f"{machine['architecture']}, {machine['system']}; {threads} threads, batch 1.",
            ", ".join(f"{tool} {version}" for tool, version in tools.items()) + ".",
            f"Made by `{command or f'scripts/bench {name}'}`.",
            "",
        ]
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)

"""A process that only runs bundles: how long it takes to start, and what memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from harness import THREADS

STARTS = {
    "import modelport": """
import modelport""",
    "import of all that loads and runs a bundle": """
import modelport
modelport.load""",
    "modelport: load and answer once": """
import modelport
modelport.load(BUNDLE, threads=THREADS)(PHOTO)""",
    "script: imports, session and one answer": """
import sys; sys.path[:0] = PATHS
from runtime_runs.classification import Script
Script()(PHOTO)""",
}
_SCALE = """
import json, sys, time
from pathlib import Path
BUNDLE, PHOTO, THREADS, PATHS = Path({bundle!r}), Path({photo!r}), {threads}, {paths!r}
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
sys.path[:0] = PATHS
from runtime_runs.process import peak_mb
print(json.dumps([seconds, peak_mb()]))
"""


def peak_mb() -> float:
    """Most memory of this process; `getrusage` would tell that of the one which started it, if more."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM:"))


def starts(bundle: Path, photo: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and most megabytes of each, in turn."""
    here = Path(__file__).resolve().parents[1]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, code in STARTS.items():
            program = _SCALE.format(
                bundle=str(bundle), photo=str(photo), threads=THREADS, paths=[str(here)], code=code
            )
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            )
            seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
            found[name].append((seconds, megabytes))
    return found


_GROWTH = """
import json, sys
from pathlib import Path
import modelport

def now():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

predictor, photo = modelport.load({bundle!r}, threads=1), {photo!r}
for _ in range({calls} // 10):
    predictor(photo)
before = now()
for _ in range({calls}):
    predictor(photo)
single = now() - before
for _ in predictor.map([photo] * ({calls} // 10)):
    pass
before = now()
for _ in predictor.map([photo] * {calls}):
    pass
print(json.dumps([single, now() - before]))
"""


def growth(bundle: Path, photo: Path, calls: int) -> tuple[float, float]:
    """Megabytes that so many calls add, one by one and by `map`, after a tenth of them to warm up."""
    program = _GROWTH.format(bundle=str(bundle), photo=str(photo), calls=calls)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    single, mapped = json.loads(done.stdout.splitlines()[-1])
    return single, mapped

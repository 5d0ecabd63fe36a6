"""An engine that crashes, hangs, prints and lies, as `ROGUE` tells it to."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from modelport.engines.base import Rules, Session
from modelport.engines.conversion import Conversion, Converted
from modelport.engines.converting import ConvertingEngine
from modelport.types import Artifact, Feeds, Outputs


def misbehave(where: str) -> None:
    told = os.environ.get("ROGUE", "")
    if not told.startswith(f"{where}:"):
        return
    what = told.partition(":")[2]
    if what == "crash":
        print("about to divide by the weather", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "hang":
        print("thinking", flush=True)
        time.sleep(600)
    elif what == "exit":
        os._exit(3)
    elif what == "raise":
        raise RuntimeError("the layer Frobnicate is unknown")
    elif what == "eat":
        np.ones(4_000_000_000, np.uint8)


class Rogue(ConvertingEngine):
    name: ClassVar[str] = "rogue"
    deployable: ClassVar[bool] = False
    rules: ClassVar[Rules] = Rules(opsets=(7, 24), source="a test")

    def convert(self, job: Conversion) -> Converted:
        misbehave("convert")
        count = Path(os.environ.get("ROGUE_COUNT", os.devnull))
        with count.open("a") as file:
            file.write("converted\n")
        (job.directory / "model.bin").write_bytes(b"twice")
        files = {"model": "model.bin"}
        if os.environ.get("ROGUE") == "convert:lie":
            files["weights"] = "weights.bin"
        return Converted(files)

    def _load(self, artifact: Artifact, threads: int) -> Session:
        misbehave("load")
        if bytes(artifact.files["model"].view()) != b"twice":
            raise ValueError("not my file")
        return Twice(artifact.signature, self.name)


class Twice(Session):
    def _run(self, feeds: Feeds) -> Outputs:
        print("noise on standard output")
        misbehave("run")
        spec = self.signature.outputs[0]
        return {spec.name: next(iter(feeds.values())) * 2}

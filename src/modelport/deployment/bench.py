"""Where a search tries its choices: compiles them, runs them in processes of their own, times them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from modelport.deployment.data import Data
from modelport.deployment.measure import Judge, times_say_nothing
from modelport.deployment.starting import start
from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.engines.workers.wire import artifact_from_json, artifact_to_json
from modelport.errors import EngineError
from modelport.profile.latency import Latency, time_sessions
from modelport.tune.ledger import Ledger
from modelport.tune.space import Choice
from modelport.tune.trying import Effort, Prepared
from modelport.types import Artifact, Outputs
from modelport.variants import Compiled, Compiler, Plan
from modelport.verify.compare import Fidelity, run_all
from modelport.verify.metrics import Closeness

FIRST_SAMPLES = 8
"""Enough to see that something is not the same model."""

SECONDS_EACH = 6.0
"""Most time that timing takes for each choice; slow ones get fewer rounds, never under five."""


class Bench:
    """What `modelport.tune.trying.Bench` promises. A context manager, which closes its sessions.

    Args:
        plans: by name of the artifact.
        ledger: remembers what was measured, also by an earlier process.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        compiler: Compiler,
        data: Data,
        judge: Judge,
        ledger: Ledger,
    ) -> None:
        self._plans, self._compiler = plans, compiler
        self._data, self._judge, self._ledger = data, judge, ledger
        self._feeds = data.feeds
        self._compiled: dict[str, Compiled] = {}
        self._open: dict[str, Session] = {}
        self._races = 0

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._open.values():
            session.close()

    def compiled(self, choice: Choice) -> Compiled:
        """What became of it, under the name and with the threads of the choice."""
        done = self._compiled.get(choice.artifact)
        plan = replace(self._plans[choice.artifact], title=choice.name)
        if done is None:
            return Compiled(plan, problem="it was not compiled")
        artifact = done.artifact
        if artifact is not None and choice.threads:
            options = {**artifact.options, "threads": choice.threads}
            artifact = replace(artifact, options=options)
        return Compiled(plan, artifact, done.problem)

    def prepare(self, choice: Choice) -> Prepared:
        name = choice.artifact
        if name not in self._compiled:
            told = self._ledger.once(f"compile {name}", lambda: self._compile(name))
            self._compiled[name] = self._kept(name, told)
        artifact, problem = self._compiled[name].artifact, self._compiled[name].problem
        if artifact is None:
            return Prepared(problem=problem or "it was not compiled")
        size = artifact.size_bytes
        engine = ENGINES.get(artifact.engine)
        elsewhere = engine.cannot_run()
        if elsewhere is not None:
            return Prepared(elsewhere=elsewhere, size_bytes=size)
        made = _prepared(self._ledger.once(f"run {name}", lambda: self._first_runs(name)), size)
        return replace(made, elsewhere=times_say_nothing(engine)) if engine.emulates else made

    def prove(self, choice: Choice) -> Fidelity | str:
        def step() -> dict[str, Any]:
            try:
                outputs = run_all(self._session(choice), self._feeds)
            except EngineError as error:
                return {"problem": str(error)}
            return {"fidelity": asdict(self._judged(choice.artifact, outputs))}

        told = self._ledger.once(f"prove {choice.artifact}", step)
        return str(told["problem"]) if "problem" in told else _fidelity(told["fidelity"])

    def time(
        self, choices: Sequence[Choice], effort: Effort
    ) -> tuple[dict[str, Latency], dict[str, str]]:
        def step() -> dict[str, Any]:
            latencies, failed = self._timed(choices, effort)
            return {
                "latencies": {name: asdict(latency) for name, latency in latencies.items()},
                "failed": failed,
            }

        self._races += 1
        names = " ".join(choice.name for choice in choices)
        told = self._ledger.once(f"time {self._races} {effort.rounds} {names}", step)
        latencies = {name: Latency(**latency) for name, latency in told["latencies"].items()}
        return latencies, told["failed"]

    # The steps themselves

    def _compile(self, name: str) -> dict[str, Any]:
        # What an earlier process left unfinished under that name.
        shutil.rmtree(self._compiler.directory / name, ignore_errors=True)
        done = self._compiler.compile(self._plans[name])
        if done.artifact is None:
            return {"problem": done.problem}
        return {"artifact": artifact_to_json(done.artifact)}

    def _kept(self, name: str, told: Mapping[str, Any]) -> Compiled:
        """What was compiled, compiled again where somebody has taken its files away."""
        if "artifact" not in told:
            return Compiled(self._plans[name], problem=told["problem"])
        artifact = artifact_from_json(told["artifact"])
        if all(blob.path.is_file() for blob in artifact.files.values()):
            return Compiled(self._plans[name], artifact)
        return self._compiler.compile(self._plans[name])

    def _first_runs(self, name: str) -> dict[str, Any]:
        """Its first run may be its last, so it is in a worker. The second start is what users wait
        for: at the first an engine may keep what makes others faster."""
        artifact = self._artifact(name)
        engine = ENGINES.get(artifact.engine)
        try:
            with engine.load(artifact, isolated=True) as session:
                outputs = run_all(session, self._feeds[:FIRST_SAMPLES])
            begun = start(artifact, self._feeds[0])
        except EngineError as error:
            return {"problem": str(error)}
        return {"fidelity": asdict(self._judged(name, outputs)), **asdict(begun)}

    def _timed(
        self, choices: Sequence[Choice], effort: Effort
    ) -> tuple[dict[str, Latency], dict[str, str]]:
        failed: dict[str, str] = {}
        names = {choice.name for choice in choices}
        for name in [name for name in self._open if name not in names]:
            self._open.pop(name).close()
        for choice in choices:
            try:
                self._session(choice)
            except EngineError as error:
                failed[choice.name] = str(error)
        latencies = time_sessions(
            {choice.name: self._open[choice.name] for choice in choices if choice.name in self._open},
            self._feeds[0],
            rounds=effort.rounds,
            warm=effort.warm,
            counted=effort.counted,
            budget_s=SECONDS_EACH * len(choices),
            failed=failed,
        )  # fmt: skip
        return latencies, failed

    def _session(self, choice: Choice) -> Session:
        if choice.name not in self._open:
            artifact = self._artifact(choice.artifact)
            with ExitStack() as opening:
                engine = ENGINES.get(artifact.engine)
                session = opening.enter_context(engine.load(artifact, threads=choice.threads))
                self._open[choice.name] = session
                opening.pop_all()
        return self._open[choice.name]

    def _artifact(self, name: str) -> Artifact:
        artifact = self._compiled[name].artifact
        assert artifact is not None
        return artifact

    def _judged(self, name: str, outputs: list[Outputs]) -> Fidelity:
        count = len(outputs)
        intended = self._judge.intended
        judge = replace(
            self._judge,
            truth=self._judge.truth[:count],
            intended=None if intended is None else intended[:count],
        )
        signature, target = self._artifact(name).signature, self._plans[name].target
        return judge(outputs, signature, target.precision)


def _prepared(told: Mapping[str, Any], size: int) -> Prepared:
    if "problem" in told:
        return Prepared(problem=told["problem"], size_bytes=size)
    fidelity = _fidelity(told["fidelity"])
    return Prepared(
        problem=None
        if fidelity.passed
        else f"it is not the same model: {'; '.join(fidelity.reasons)}",
        fidelity=fidelity,
        size_bytes=size,
        memory_bytes=told["memory_bytes"],
        start_up_ms=told["start_up_ms"],
    )


def _fidelity(told: Mapping[str, Any]) -> Fidelity:
    by_output = {name: Closeness(**each) for name, each in told["by_output"].items()}
    return Fidelity(**{**told, "by_output": by_output})

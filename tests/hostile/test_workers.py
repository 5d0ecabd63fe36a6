"""Engines that crash, hang, print and lie take nothing down but their own variant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import modelport
from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.engines.converting import ConvertingEngine
from modelport.engines.workers import wire
from modelport.errors import EngineError, FeedsError
from modelport.types import Artifact, Target
from modelport.variants import Plan, compile_all

MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
main (float[n, 4] x) => (float[n, 4] y) { y = Add(x, x) }
"""


@pytest.fixture
def rogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConvertingEngine]:
    """The engine of `rogue.py`, found through the entry points of a package as users install it."""
    package = tmp_path / "package"
    about = package / "rogue-1.0.dist-info"
    about.mkdir(parents=True)
    (package / "rogue.py").write_text(Path(__file__).with_name("rogue.py").read_text())
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[modelport.engines]\nrogue = rogue:Rogue\n")
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.setenv("MODELPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROGUE_COUNT", str(tmp_path / "count"))
    ENGINES.__dict__.pop("_external", None)
    sys.modules.pop("rogue", None)
    engine = ENGINES.get("rogue")
    assert isinstance(engine, ConvertingEngine)
    yield engine
    ENGINES._loaded.pop("rogue", None)
    ENGINES.__dict__.pop("_external", None)
    sys.modules.pop("rogue", None)


def artifact_of(engine: ConvertingEngine, folder: Path) -> Artifact:
    folder.mkdir()
    return engine.compile(ir.from_onnx_text(MODEL), Target(), folder)


def conversions(tmp_path: Path) -> int:
    count = tmp_path / "count"
    return len(count.read_text().splitlines()) if count.exists() else 0


FEEDS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "convert:crash",
            "rogue crashed while converting: its process was ended by SIGSEGV. Its last words: "
            "about to divide by the weather. Only its own process ended.",
        ),
        ("convert:exit", "rogue crashed while converting: its process left with status 3"),
        (
            "convert:raise",
            "rogue failed while converting: RuntimeError: the layer Frobnicate is unknown.",
        ),
        ("convert:lie", "rogue did not write weights.bin."),
        (
            "convert:hang",
            "rogue was stopped: it gave no answer for 3 s while converting. Its last words: thinking.",
        ),
    ],
)
def test_a_bad_conversion_is_an_error_with_the_last_words(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, said: str
) -> None:
    monkeypatch.setenv("ROGUE", told)
    if told.endswith("hang"):
        monkeypatch.setenv("MODELPORT_ENGINE_TIMEOUT_S", "3")
    with pytest.raises(EngineError) as caught:
        artifact_of(rogue, tmp_path / "artifact")
    assert str(caught.value).startswith(said)


def test_a_crash_is_the_end_of_its_plan_alone(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROGUE", "convert:crash")
    plans = [Plan("rogue", Target()), Plan("onnxruntime", Target())]
    first, second = compile_all(
        ir.from_onnx_text(MODEL), plans, [], tmp_path / "made", lambda _: None
    )
    assert first.artifact is None
    assert "ended by SIGSEGV" in (first.problem or "")
    assert second.problem is None


@pytest.mark.parametrize("told", ["load:crash", "run:crash", ""])
def test_a_deployment_outlives_its_engines(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """The first run of an engine that shares our process is in a worker, where it may die."""
    model = tmp_path / "model.onnx"
    ir.save(ir.from_onnx_text(MODEL), model)
    monkeypatch.setenv("ROGUE", told)
    bundle = modelport.deploy(
        model, output=tmp_path / "bundle", engines=["onnxruntime", "rogue"], precisions=["fp32"],
        threads=1, report=False,
    )  # fmt: skip
    variant = next(v for v in bundle.manifest.variants if v.name == "rogue-fp32")
    assert (variant.verdict == "rejected") == bool(told)
    if told:
        assert "ended by SIGSEGV" in variant.reason
        assert bundle.manifest.default == "onnxruntime-fp32"
    else:
        assert variant.latency is not None


@pytest.mark.parametrize("what", ["crash", "hang", "raise"])
def test_a_session_in_a_worker_survives_its_engine(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    artifact = artifact_of(rogue, tmp_path / "artifact")
    monkeypatch.setenv("ROGUE", f"run:{what}")
    with rogue.load(artifact, isolated=True) as session:
        monkeypatch.setenv("MODELPORT_ENGINE_TIMEOUT_S", "2")
        with pytest.raises(EngineError, match=r"rogue (crashed|was stopped|failed)"):
            session.run(FEEDS)
        if what != "raise":
            with pytest.raises(EngineError, match="rogue crashed while running"):
                session.run(FEEDS)
    monkeypatch.delenv("ROGUE")
    with rogue.load(artifact, isolated=True) as session:
        np.testing.assert_array_equal(session.run(FEEDS)["y"], FEEDS["x"] * 2)


def test_memory_is_bounded(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_of(rogue, tmp_path / "artifact")
    monkeypatch.setenv("ROGUE", "run:eat")
    with (
        rogue.load(artifact, memory_bytes=2_000_000_000) as session,
        pytest.raises(EngineError, match=r"Unable to allocate|MemoryError"),
    ):
        session.run(FEEDS)


def test_a_killed_worker_is_told(rogue: ConvertingEngine, tmp_path: Path) -> None:
    artifact = artifact_of(rogue, tmp_path / "artifact")
    with rogue.load(artifact, isolated=True) as session:
        session.run(FEEDS)
        session._worker._process.kill()  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match="ended by SIGKILL"):
            session.run(FEEDS)


def test_arrays_grow_and_shrink_between_runs(rogue: ConvertingEngine, tmp_path: Path) -> None:
    """The shared memory is made anew for larger arrays; empty ones and transposed ones travel too."""
    artifact = artifact_of(rogue, tmp_path / "artifact")
    generator = np.random.default_rng(0)
    with rogue.load(artifact, isolated=True) as session:
        for rows in (1, 5000, 2, 100_000, 0, 3):
            feeds = {"x": generator.standard_normal((4, rows)).astype(np.float32).T}
            if rows:
                np.testing.assert_array_equal(session.run(feeds)["y"], feeds["x"] * 2)
            else:
                with pytest.raises(FeedsError):
                    session.run(feeds)


def test_nothing_is_left_in_memory(rogue: ConvertingEngine, tmp_path: Path) -> None:
    before = set(wire.memory_root().glob("modelport-*"))
    artifact = artifact_of(rogue, tmp_path / "artifact")
    with rogue.load(artifact, isolated=True) as session:
        session.run(FEEDS)
        assert set(wire.memory_root().glob("modelport-*")) != before
    assert set(wire.memory_root().glob("modelport-*")) == before


# --- the cache ----------------------------------------------------------------------------------


def test_equal_jobs_are_converted_once(rogue: ConvertingEngine, tmp_path: Path) -> None:
    one = artifact_of(rogue, tmp_path / "one")
    two = artifact_of(rogue, tmp_path / "two")
    assert conversions(tmp_path) == 1
    assert one.files["model"].path.read_bytes() == two.files["model"].path.read_bytes() == b"twice"


def test_another_target_is_another_entry(rogue: ConvertingEngine, tmp_path: Path) -> None:
    artifact_of(rogue, tmp_path / "one")
    (tmp_path / "two").mkdir()
    rogue.compile(ir.from_onnx_text(MODEL), Target(threads=2), tmp_path / "two")
    assert conversions(tmp_path) == 2


def entries(tmp_path: Path) -> list[Path]:
    return [path.parent for path in (tmp_path / "home").rglob("entry.json")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "model.bin").write_bytes(b"thrice"),
        lambda entry: (entry / "model.bin").unlink(),
        lambda entry: (entry / "entry.json").write_text("{"),
        lambda entry: (entry / "entry.json").write_text("{}"),
    ],
    ids=["content", "missing", "torn", "empty"],
)
def test_a_damaged_entry_is_made_again(
    rogue: ConvertingEngine, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    artifact_of(rogue, tmp_path / "one")
    (entry,) = entries(tmp_path)
    damage(entry)
    two = artifact_of(rogue, tmp_path / "two")
    assert two.files["model"].path.read_bytes() == b"twice"
    assert conversions(tmp_path) == 2
    artifact_of(rogue, tmp_path / "three")
    assert conversions(tmp_path) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "no-folder"
    blocked.write_text("a file where the cache should be")
    monkeypatch.setenv("MODELPORT_HOME", str(blocked))
    artifact_of(rogue, tmp_path / "one")
    artifact_of(rogue, tmp_path / "two")
    assert conversions(tmp_path) == 2


def test_a_full_disk_leaves_no_half_entry(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelport.engines import cache

    def full(source: Path, target: Path) -> Path:
        if "partial-" in str(target):
            Path(target).write_bytes(b"tw")
            raise OSError(28, "No space left on device")
        return Path(original(source, target))

    original = cache.shutil.copyfile
    monkeypatch.setattr(cache.shutil, "copyfile", full)
    artifact_of(rogue, tmp_path / "one")
    assert entries(tmp_path) == []
    assert not list((tmp_path / "home").rglob("partial-*"))


def test_the_cache_forgets_what_was_used_longest_ago(
    rogue: ConvertingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact_of(rogue, tmp_path / "one")
    (old,) = entries(tmp_path)
    os.utime(old, (1, 1))
    size = sum(path.stat().st_size for path in old.iterdir())
    monkeypatch.setenv("MODELPORT_CACHE_BYTES", str(size + size // 2))
    (tmp_path / "two").mkdir()
    rogue.compile(ir.from_onnx_text(MODEL), Target(threads=2), tmp_path / "two")
    (left,) = entries(tmp_path)
    assert left != old


def test_two_processes_may_build_the_same(rogue: ConvertingEngine, tmp_path: Path) -> None:
    script = (
        "import sys, onnx_ir as ir\nfrom pathlib import Path\n"
        "from modelport.engines import ENGINES\nfrom modelport.types import Target\n"
        f"folder = Path(sys.argv[1]); folder.mkdir()\n"
        f"ENGINES.get('rogue').compile(ir.from_onnx_text('''{MODEL}'''), Target(), folder)\n"
        "print((folder / 'model.bin').read_bytes())"
    )
    found: list[str] = []

    def build(name: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found.append(done.stdout.strip() or done.stderr)

    threads = [threading.Thread(target=build, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["b'twice'"] * 2
    assert len(entries(tmp_path)) == 1
    artifact_of(rogue, tmp_path / "three")
    assert conversions(tmp_path) <= 2


# --- what travels -------------------------------------------------------------------------------


def test_a_torn_message_is_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    body = json.dumps({"do": "run"}).encode()
    for content in (b"", b"\x05\x00", len(body).to_bytes(8, "little") + body[:-3]):
        path.write_bytes(content)
        with path.open("rb") as pipe:
            assert wire.receive(pipe) is None


def test_errors_keep_their_kind_and_words_on_the_way() -> None:
    error = FeedsError("it is blue", expected="red", hint="Paint it", module_path="a.b")
    back = wire.error_from_json(json.loads(json.dumps(wire.error_to_json(error))))
    assert type(back) is FeedsError
    assert str(back) == str(error)
    lacking = wire.error_from_json(wire.error_to_json(EngineError("no Det", operators=["Det"])))
    assert isinstance(lacking, EngineError)
    assert lacking.operators == ("Det",)
    foreign = wire.error_from_json(wire.error_to_json(KeyError("x")))
    assert str(foreign) == "KeyError: 'x'"


def test_sessions_start_runs_and_batches(rogue: ConvertingEngine, tmp_path: Path) -> None:
    artifact = artifact_of(rogue, tmp_path / "artifact")
    feeds = [{"x": np.full((n, 4), n, np.float32)} for n in (1, 2, 3)]
    session: Session
    with rogue.load(artifact, isolated=True, warm_up=2) as session:
        promises = [session.submit(feed) for feed in feeds]
        for feed, promise in zip(feeds, promises, strict=True):
            np.testing.assert_array_equal(promise.result()["y"], feed["x"] * 2)
        for feed, got in zip(feeds, session.run_batch(feeds), strict=True):
            np.testing.assert_array_equal(got["y"], feed["x"] * 2)

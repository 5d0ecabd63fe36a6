"""What may hang or crash does not take the job down: the deadline and the child process."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from modelport.errors import ExportError, ModelportError, SourceError, WeightsError
from modelport.frontends import isolation
from modelport.frontends.isolation import deadline, in_child

HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def alarms_are_as_before() -> Iterator[None]:
    """A test may have a time limit of its own, by the same alarm."""
    handler, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield
    assert signal.getsignal(signal.SIGALRM) is handler
    now, _ = signal.getitimer(signal.ITIMER_REAL)
    assert bool(now) is bool(left)
    assert now <= left
    assert multiprocessing.active_children() == []


def spin(seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# --- deadline -----------------------------------------------------------------------------------


def test_a_deadline_names_the_line_that_was_running() -> None:
    with pytest.raises(SourceError) as caught, deadline(0.2, "Building the model"):
        spin()
    code = spin.__code__
    lines = range(code.co_firstlineno, code.co_firstlineno + 5)
    assert any(
        str(caught.value).startswith(
            f"Building the model was stopped after 0.2 s at {HERE}:{line}. Look for a loop"
        )
        for line in lines
    ), caught.value


def test_a_deadline_names_the_users_line_above_library_code() -> None:
    """A download that hangs does so deep inside Python's own library."""
    with pytest.raises(SourceError) as caught, deadline(0.2, "Opening"):
        threading.Event().wait(60)
    line = sys._getframe().f_lineno - 1
    assert f"at {HERE}:{line}." in str(caught.value)


def test_a_deadline_that_is_kept_leaves_nothing() -> None:
    with deadline(0.2, "Opening"):
        pass
    spin(0.4)


def test_errors_pass_a_deadline_unchanged() -> None:
    with pytest.raises(KeyError, match="own"), deadline(60, "Opening"):
        raise KeyError("own")


def test_the_outer_deadline_goes_on_after_the_inner_one() -> None:
    def work() -> None:
        with deadline(0.5, "Outer"):
            with deadline(0.3, "Inner"):
                pass
            spin()

    with pytest.raises(SourceError, match=r"Outer was stopped after 0\.5 s"):
        work()


def test_a_stopped_inner_deadline_leaves_the_outer_one_running() -> None:
    def work() -> None:
        with deadline(0.6, "Outer"):
            with pytest.raises(SourceError, match="Inner"), deadline(0.1, "Inner"):
                spin()
            spin()

    with pytest.raises(SourceError, match="Outer"):
        work()


def test_the_earliest_of_nested_deadlines_counts() -> None:
    start = time.monotonic()
    with pytest.raises(SourceError, match="Outer"), deadline(0.3, "Outer"), deadline(60, "Inner"):
        spin(30)
    assert time.monotonic() - start < 20


def test_a_foreign_alarm_is_put_back() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    before, _ = signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        with deadline(0.2, "Inner"):
            pass
        spin(1.2)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, max(before - 2, 1) if before else 0)


def test_in_another_thread_nothing_is_stopped() -> None:
    done: list[str] = []

    def work() -> None:
        with deadline(0.1, "Opening"):
            spin(0.3)
        done.append("whole")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["whole"]


# --- child --------------------------------------------------------------------------------------


def test_a_child_hands_over_its_folder() -> None:
    value = {"x": 3}

    def work(folder: Path) -> None:
        value["x"] = 4
        (folder / "answer").write_text(f"{value['x']} {os.getpid()}")

    with in_child(work, 60, "Work") as folder:
        number, process = (Path(folder) / "answer").read_text().split()
        assert number == "4"
        assert int(process) != os.getpid()
    assert value == {"x": 3}, "the parent's memory is not the child's"
    assert not Path(folder).exists()


def failing(error: BaseException) -> Any:
    def work(_: Path) -> None:
        raise error

    return work


def test_our_errors_come_back_whole() -> None:
    error = WeightsError("They do not fit", expected="others", hint="Look", module_path="a.b")
    with pytest.raises(WeightsError) as caught:
        in_child(failing(error), 60, "Work")
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


def test_foreign_errors_come_back_in_one_line() -> None:
    with pytest.raises(ExportError) as caught:
        in_child(failing(ValueError("two\nlines " + "x" * 1000)), 60, "Work")
    assert str(caught.value).startswith("ValueError: two lines xxx")
    assert len(str(caught.value)) < 500


def crash(_: Path) -> None:
    faulthandler.disable()  # pytest's would print the stack of this child
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (crash, "was ended by SIGSEGV"),
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL"),
        (lambda _: os._exit(3), "left with status 3"),
        (lambda _: sys.exit(5), "left with status 5"),
    ],
    ids=["segfault", "killed", "exit", "sys.exit"],
)
def test_a_crash_is_an_error(work: Any, said: str) -> None:
    with pytest.raises(ExportError, match=rf"^Work crashed: the process {said}\. .*--exporter"):
        in_child(work, 60, "Work")


def test_a_child_is_stopped_at_its_line() -> None:
    with pytest.raises(SourceError, match=rf"Work was stopped after 0\.3 s at {HERE}:\d+\."):
        in_child(lambda _: spin(), 0.3, "Work")


def test_a_child_that_does_not_come_back_to_python_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolation, "CHILD_GRACE_S", 0.3)

    def work(_: Path) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        spin()

    with pytest.raises(ExportError, match=r"^Work was stopped after 0\.3 s\."):
        in_child(work, 0.3, "Work")


def test_a_childs_limit_and_a_deadline_around_it_that_are_the_same() -> None:
    """As every export has it: the child's own error, which has the line, must win."""
    with (
        pytest.raises(SourceError, match=rf"^Work was stopped after 0\.5 s at {HERE}:\d+"),
        deadline(0.5, "Export"),
    ):
        in_child(lambda _: spin(), 0.5, "Work")


def test_an_interrupt_ends_the_child_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the whole program hangs at its end, waiting for it."""
    left: list[Path] = []

    def work(folder: Path) -> None:
        while True:
            os.kill(os.getppid(), signal.SIGUSR1)
            time.sleep(0.1)

    def interrupt(_: int, frame: FrameType | None) -> None:
        """Once, and in the wait: Python drops what is raised while it is forking."""
        waiting = any(each.f_code.co_name == "_ended" for each, _ in traceback.walk_stack(frame))
        if waiting and not interrupts:
            interrupts.append(1)
            raise KeyboardInterrupt

    interrupts: list[int] = []
    before = signal.signal(signal.SIGUSR1, interrupt)
    make = isolation.tempfile.TemporaryDirectory

    def kept(**settings: Any) -> Any:
        folder = make(**settings)
        left.append(Path(folder.name))
        return folder

    monkeypatch.setattr(isolation.tempfile, "TemporaryDirectory", kept)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_child(work, 60, "Work")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert multiprocessing.active_children() == []
    assert not left[0].exists()


def test_prints_of_a_child_are_lost(capfd: pytest.CaptureFixture[str]) -> None:
    def work(_: Path) -> None:
        print("noise", flush=True)
        os.write(2, b"noise from below")

    in_child(work, 60, "Work").cleanup()
    assert capfd.readouterr() == ("", "")


def test_torch_works_in_a_child_after_threads_ran_in_the_parent() -> None:
    """A pool of threads does not live through a fork; whoever waits for it waits for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        torch.randn(600, 600) @ torch.randn(600, 600)  # starts the pool
        total = torch.ones(500, 500).sum()

        def work(folder: Path) -> None:
            torch.set_num_threads(1)
            product = torch.ones(500, 500) @ torch.ones(500, 500)
            (folder / "sum").write_text(str(float(product.sum() / 500)))

        with in_child(work, 60, "Work") as folder:
            assert float((Path(folder) / "sum").read_text()) == float(total)
    finally:
        torch.set_num_threads(before)


def test_without_fork_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])

    def work(folder: Path) -> None:
        (folder / "process").write_text(str(os.getpid()))

    with in_child(work, 60, "Work") as folder:
        assert (Path(folder) / "process").read_text() == str(os.getpid())
    with pytest.raises(ModelportError, match="mine"):
        in_child(failing(ExportError("mine")), 60, "Work")


def test_a_child_that_does_nothing_gets_a_second_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "STALL_S", 3.0)
    mark = tmp_path / "been here"

    def work(folder: Path) -> None:
        if not mark.exists():
            mark.touch()
            time.sleep(60)  # as one that waits for a lock which nobody will open
        (folder / "made").write_text("second")

    with in_child(work, 30, "The export") as folder:
        assert (Path(folder) / "made").read_text() == "second"


def test_a_child_that_does_nothing_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "STALL_S", 1.0)
    with pytest.raises(ExportError, match=r"The export was stopped: its process did nothing for"):
        in_child(lambda folder: time.sleep(60), 30, "The export")

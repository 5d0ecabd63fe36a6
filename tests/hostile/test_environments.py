"""Environments of engines: whole or not at all, and in words that help."""

from __future__ import annotations

import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelport.engines.environments import Environment
from modelport.errors import EngineError

METADATA = "Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.5\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An engine whose only package lies in a folder, on a machine without an index."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "toy_engine-1.5-py3-none-any.whl", "w") as wheel:
        info = "toy_engine-1.5.dist-info"
        wheel.writestr("toy_engine.py", "SPEED = 7\n")
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        files = ("toy_engine.py", *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD")))
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    monkeypatch.setenv("MODELPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    (tmp_path / "requirements.txt").write_text("# what it takes\ntoy-engine==1.5\n")
    return Environment("toy", tmp_path / "requirements.txt", layered=False)


def test_it_has_its_own_packages_and_modelport(toy: Environment) -> None:
    heard: list[str] = []
    toy.install(heard.append)
    assert heard == ["making an environment for toy", "installing toy-engine==1.5"]
    assert toy.version_of("Toy_Engine") == "1.5"
    code = "import modelport, toy_engine; print(toy_engine.SPEED)"
    told = subprocess.run([toy.python, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "7\n"
    toy.install(lambda words: pytest.fail(f"it is there, and yet: {words}"))
    toy.remove()
    assert not toy.installed


def test_without_the_package_nothing_is_left(toy: Environment) -> None:
    toy.requirements.write_text("toy-engine==2.0\n")
    with pytest.raises(EngineError, match=r"toy cannot be made: .*toy-engine==2\.0") as caught:
        toy.install(lambda _: None)
    assert "Look whether the package index can be reached" in str(caught.value)
    assert not toy.installed
    assert list(toy.folder.parent.iterdir()) == []


def test_what_was_cut_off_is_made_again(toy: Environment) -> None:
    """A folder without the file that is written last is no environment."""
    (toy.folder.parent / "toy-partial-killed").mkdir(parents=True)
    assert not toy.installed
    toy.install(lambda _: None)
    assert toy.installed


def test_two_may_install_at_once(toy: Environment) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: toy.install(lambda _: None), range(2)))
    assert toy.version_of("toy-engine") == "1.5"
    assert list(toy.folder.parent.iterdir()) == [toy.folder]


def test_a_place_that_cannot_be_written_is_said(toy: Environment, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(EngineError, match=r"cannot be made at .*toy-\w+: .*Set MODELPORT_HOME"):
        toy.install(lambda _: None)

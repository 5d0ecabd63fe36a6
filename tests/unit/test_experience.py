"""What other models taught: one scale for races, what may be concluded, and where it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.tune.experience import MODELS, Experience, Least, relative_times
from modelport.tune.notebook import VARIABLE, Notebook, experience_folder

VERSIONS = {"alpha": "1.0", "beta": "2.0"}
OWNERS = {"alpha-fp32": "alpha", "beta-fp32": "beta"}


def test_the_least_ratio_is_told() -> None:
    runs = [{"a": 1.0, "b": ratio} for ratio in (1.5, 1.2, 3.0)]
    assert Experience(runs).least("b", "a") == Least(1.2, 3)
    assert Experience(runs).least("a", "b") == Least(1 / 3, 3)


@pytest.mark.parametrize(
    "runs",
    [[{"a": 1.0, "b": 9.0}] * (MODELS - 1), [{"a": 1.0}, {"b": 9.0}] * MODELS],
    ids=["of too few models", "never of the same model"],
)
def test_what_cannot_be_concluded(runs: list[dict[str, float]]) -> None:
    assert Experience(runs).least("b", "a") is None


TIMES = st.floats(0.1, 100.0)


@given(
    st.lists(TIMES, min_size=4, max_size=4), st.lists(st.floats(0.5, 2.0), min_size=3, max_size=3)
)
def test_races_on_a_machine_of_changing_speed_have_one_scale(
    times: list[float], speeds: list[float]
) -> None:
    """Who survives joins the races; the slowdown of each of them falls out."""
    true = dict(zip("abcd", sorted(times), strict=True))
    races = [
        {name: true[name] * speed for name in names}
        for names, speed in zip(("abc", "abd", "ab"), speeds, strict=True)
    ]
    found = relative_times(races)
    best = min(true.values())
    assert found == pytest.approx({name: time / best for name, time in true.items()})


def test_races_without_a_common_choice_are_left_out() -> None:
    assert relative_times([{"x": 5.0}, {"a": 2.0, "b": 1.0}]) == {"a": 2.0, "b": 1.0}
    assert relative_times([{}, {}]) == {}


def test_a_notebook_tells_of_other_models(tmp_path: Path) -> None:
    for model in ("first", "second", "third"):
        Notebook(tmp_path, model, VERSIONS).write({"alpha-fp32": 1.0, "beta-fp32": 1.5}, OWNERS)
    mine = Notebook(tmp_path, "fourth", VERSIONS).of_others()
    assert mine.least("beta-fp32", "alpha-fp32") == Least(1.5, 3)
    own = Notebook(tmp_path, "first", VERSIONS).of_others()
    assert len(own.to_json()) == 2, "its own search remembers what was measured of it"


def test_another_version_of_an_engine_teaches_nothing(tmp_path: Path) -> None:
    Notebook(tmp_path, "first", VERSIONS).write({"alpha-fp32": 1.0, "beta-fp32": 1.5}, OWNERS)
    newer = Notebook(tmp_path, "second", {**VERSIONS, "beta": "2.1"})
    assert newer.of_others().to_json() == [{"alpha-fp32": 1.0}]


def test_a_smaller_search_does_not_replace_a_larger_one(tmp_path: Path) -> None:
    owners = {**OWNERS, "beta-int8": "beta"}
    notes = Notebook(tmp_path, "first", VERSIONS)
    notes.write({"alpha-fp32": 1.0, "beta-fp32": 1.5, "beta-int8": 0.5}, owners)
    notes.write({"alpha-fp32": 1.0, "beta-fp32": 9.0}, owners)
    (known,) = Notebook(tmp_path, "other", VERSIONS).of_others().to_json()
    assert known["beta-fp32"] == 1.5


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"alpha": 1}', '{"alpha": {"version": "1.0", "relative": {"x": "y"}}}'],
)
def test_a_damaged_file_teaches_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "first.json").write_text(text)
    assert Notebook(tmp_path, "second", VERSIONS).of_others().to_json() == [{}]


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes = Notebook(tmp_path / "file" / "folder", "first", VERSIONS)
    notes.write({"alpha-fp32": 1.0, "beta-fp32": 1.5}, OWNERS)
    assert notes.of_others().to_json() == []


def test_the_folder_is_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    one, other = experience_folder("avx2"), experience_folder("avx2 vnni")
    assert one is not None
    assert other is not None
    assert one.parent == tmp_path == other.parent
    assert one != other
    monkeypatch.setenv(VARIABLE, "0")
    assert experience_folder("avx2") is None
    assert Notebook(None, "first", VERSIONS).of_others().to_json() == []


def test_what_is_written_can_be_read_by_people(tmp_path: Path) -> None:
    Notebook(tmp_path, "first", VERSIONS).write({"alpha-fp32": 1.0, "beta-fp32": 1.23456}, OWNERS)
    told = json.loads((tmp_path / "first.json").read_text())
    assert told["beta"] == {"version": "2.0", "relative": {"beta-fp32": 1.2346}}
    assert list(tmp_path.iterdir()) == [tmp_path / "first.json"]

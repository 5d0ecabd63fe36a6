"""Members by name, built in or from other packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

from modelport import registry
from modelport.engines import ENGINES
from modelport.errors import UnknownNameError, UsageError
from modelport.passes import PASSES
from modelport.registry import Registry


class Square:
    made = 0

    def __init__(self) -> None:
        Square.made += 1


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("made_up_shapes")
    module.Square = Square  # type: ignore[attr-defined]
    module.circle = "a circle"  # type: ignore[attr-defined]
    Square.made = 0
    monkeypatch.setitem(sys.modules, "made_up_shapes", module)
    return module


def offer(monkeypatch: pytest.MonkeyPatch, **names: str) -> list[str]:
    """Pretends that other packages offer those names; returns the groups that were asked for."""
    asked: list[str] = []

    def entry_points(*, group: str) -> EntryPoints:
        asked.append(group)
        return EntryPoints(
            EntryPoint(name.rstrip("_"), value, group) for name, value in names.items()
        )

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return asked


def shape_registry() -> Registry[Any]:
    return Registry("shape", {"square": "made_up_shapes:Square", "circle": "made_up_shapes:circle"})


def test_classes_become_one_instance_and_others_stay() -> None:
    members = shape_registry()
    assert Square.made == 0
    square = members.get("square")
    assert isinstance(square, Square)
    assert members.get("square") is square
    assert Square.made == 1
    assert members.get("circle") == "a circle"


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    members: Registry[Any] = Registry("shape", {"ghost": "no_such_module_anywhere:Ghost"})
    assert list(members) == ["ghost"]
    assert "ghost" in members
    with pytest.raises(ModuleNotFoundError):
        members.get("ghost")


@pytest.mark.parametrize(
    ("name", "near"), [("sqare", "square"), ("Square", "square"), ("circles", "circle")]
)
def test_unknown_name_offers_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        shape_registry().get(name)
    text = str(caught.value)
    assert text.startswith(f"There is no shape named {name!r}. Expected one of square, circle.")
    assert f"{near!r}" in text
    assert "?." not in text


def test_unknown_name_that_is_near_nothing() -> None:
    with pytest.raises(UnknownNameError) as caught:
        shape_registry().get("zzz")
    assert str(caught.value) == "There is no shape named 'zzz'. Expected one of square, circle."


@pytest.mark.parametrize("members", [ENGINES, PASSES], ids=["engines", "passes"])
def test_real_registries_offer_their_names(members: Registry[Any]) -> None:
    name = next(iter(members))
    with pytest.raises(UnknownNameError) as caught:
        members.get(f"{name}x")
    assert f"{name!r}" in str(caught.value)
    assert all(offered in str(caught.value) for offered in members)


def test_members_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offer(monkeypatch, oval="made_up_shapes:circle", box="made_up_shapes:Square")
    members = shape_registry()
    assert list(members) == ["square", "circle", "box", "oval"]
    assert asked == ["modelport.shapes"]
    assert "oval" in members
    assert "triangle" not in members
    assert members.get("oval") == "a circle"
    assert isinstance(members.get("box"), Square)
    assert members.get("box") is members.get("box")
    with pytest.raises(UnknownNameError, match="box, oval"):
        members.get("cone")


@pytest.mark.parametrize(
    ("name", "plural"), [("engine", "engines"), ("pass", "passes"), ("task", "tasks")]
)
def test_group_of_entry_points(name: str, plural: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offer(monkeypatch)
    assert list(Registry(name, {})) == []
    assert asked == [f"modelport.{plural}"]


@pytest.mark.parametrize("names", [{"square": "theirs:Square"}, {"oval": "a:b", "oval_": "c:d"}])
def test_a_name_taken_twice(names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, **names)
    taken = next(iter(names))
    with pytest.raises(UsageError) as caught:
        list(shape_registry())
    text = str(caught.value)
    assert f"The shape name {taken!r} is taken twice" in text
    assert list(names.values())[-1] in text
    assert "Uninstall one of the two packages" in text


def test_builtin_members_need_no_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken package elsewhere must not take away what is built in."""
    offer(monkeypatch, square="theirs:Square")
    assert shape_registry().get("circle") == "a circle"

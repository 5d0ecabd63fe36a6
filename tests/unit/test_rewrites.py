"""Rewrites: which one wins, what they touch, and that nothing of them is left."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from modelport import registry
from modelport.errors import ExportError, UsageError
from modelport.frontends import rewrites
from modelport.frontends.rewrites import Rewrite, applied
from modelport.frontends.rewrites.choose import BUILT_IN, OF_A_PACKAGE, OWN, choose
from modelport.registry import Registry

TARGET = "made_up_lib.ops.double"


def double(x: Any) -> Any:
    return x * 2


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package `made_up_lib`: `ops.double`, and a module that took it under another name."""
    package, ops, user = (ModuleType(f"made_up_lib{end}") for end in ("", ".ops", ".user"))
    package.__path__ = []  # a package, without files
    for name, value in {"ops": ops, "user": user, "double": double}.items():
        setattr(package, name, value)
    ops.double, user.twice = double, double  # type: ignore[attr-defined]
    ops.Doubler, ops.limit = Doubler, 3  # type: ignore[attr-defined]
    for module in (package, ops, user):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return package


class Doubler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.act = double

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(x) * self.weight
        return result


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Doubler()
        self.rest = nn.Sequential(nn.ReLU(), Doubler())
        self.again = self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.again(self.rest(self.first(x)))
        return result


def named(name: str, target: str = TARGET, **settings: Any) -> Rewrite:
    @rewrites.function(target, name=name, **settings)
    def replacement(original: Callable[..., Any], x: Any) -> Any:
        """Multiplies by three."""
        return x * 3

    return replacement


def export(*extra: Rewrite, module: nn.Module | None = None, **settings: Any) -> Any:
    settings = {"exporter": "torch.export", **settings}
    return applied(module or nn.Identity(), extra=extra, **settings)


# The order


SCOPES: list[dict[str, str]] = [
    {},
    {"package": "torch>=2"},
    {"engine": "onnxruntime"},
    {"engine": "onnxruntime", "package": "torch>=2"},
]


def winner(*members: tuple[int, Rewrite]) -> str:
    sorted_in: dict[int, list[Rewrite]] = {BUILT_IN: [], OF_A_PACKAGE: [], OWN: []}
    for origin, rewrite in members:
        sorted_in[origin].append(rewrite)
    (choice,) = choose(sorted_in, exporter="torch.export", engine="onnxruntime")
    return choice.rewrite.name


@pytest.mark.parametrize("low", range(3))
@pytest.mark.parametrize("backwards", [False, True])
def test_narrower_beats_wider_in_whatever_order_they_come(low: int, backwards: bool) -> None:
    members = [(OWN, named("wide", **SCOPES[low])), (OWN, named("narrow", **SCOPES[low + 1]))]
    assert winner(*(reversed(members) if backwards else members)) == "narrow"


def test_whose_it_is_beats_how_narrow_it_is() -> None:
    ours, theirs = named("ours", **SCOPES[3]), named("theirs", **SCOPES[2])
    assert winner((BUILT_IN, ours), (OF_A_PACKAGE, theirs)) == "theirs"
    assert winner((OF_A_PACKAGE, theirs), (OWN, named("mine"))) == "mine"


def test_level_rewrites_are_an_error_that_names_both() -> None:
    with pytest.raises(UsageError) as caught, export(named("one"), named("other")):
        pass
    assert str(caught.value) == (
        "The rewrites 'one' and 'other' both replace 'made_up_lib.ops.double', both are your own, "
        "and both are for everywhere. Leave one of them out, or give one an engine or a package."
    )


def test_level_rewrites_below_a_winner_do_no_harm() -> None:
    members = [(OWN, named("a")), (OWN, named("b")), (OWN, named("c", **SCOPES[1]))]
    assert winner(*members) == winner(*reversed(members)) == "c"


def test_two_names_of_one_function_are_one_target() -> None:
    with pytest.raises(UsageError, match="both replace"), export(
        named("one"), named("other", "made_up_lib.user.twice")
    ):  # fmt: skip
        pass


def test_one_overload_may_have_a_rewrite_of_its_own() -> None:
    all_of_them = rewrites.operator("aten::roll", name="all", package="torch")(double)
    one = rewrites.operator("aten::roll.default", name="one", engine="onnxruntime")(double)
    with export(all_of_them, one, engine="onnxruntime") as changes:
        assert changes._rewrites[torch.ops.aten.roll.default] is one


@pytest.mark.parametrize(
    ("settings", "applies"),
    [
        ({}, True),
        ({"engine": "openvino"}, False),
        ({"engine": "onnxruntime"}, True),
        ({"package": "torch<2"}, False),
        ({"package": "torch>=2"}, True),
        ({"package": "surely-not-installed>1"}, False),
        ({"exporters": ("torchscript",)}, False),
    ],
)
def test_scope(settings: dict[str, Any], applies: bool, library: Any) -> None:
    with export(named("mine", **settings), engine="onnxruntime"):
        assert (library.ops.double(1) == 3) is applies


def test_rewrite_for_an_engine_rests_when_no_engine_is_named(library: Any) -> None:
    with export(named("mine", engine="onnxruntime")):
        assert library.ops.double(1) == 2


# What is touched, and given back


def test_function_is_replaced_wherever_it_is_bound(library: Any) -> None:
    net = Net()
    with export(named("mine"), module=net):
        assert library.ops.double(1) == library.user.twice(1) == library.double(1) == 3
        assert net.first.act(1) == 3
        assert double(1) == 3, "this file has it too"
    assert library.ops.double is library.user.twice is library.double is net.first.act
    assert double(1) == 2
    assert not hasattr(double, "__wrapped__")


def test_everything_is_undone_when_the_export_raises(library: Any) -> None:
    net = Net()
    before = dict(net.named_modules())
    swap = rewrites.module("made_up_lib.ops.Doubler")(lambda module: nn.Identity())

    def fail() -> None:
        assert isinstance(net.first, nn.Identity)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), export(named("mine"), swap, module=net):
        fail()
    assert dict(net.named_modules()) == before
    assert library.ops.double(1) == 2


def test_everything_is_undone_when_a_replacement_raises(library: Any) -> None:
    net = Net()

    @rewrites.module("made_up_lib.ops.Doubler", name="broken")
    def broken(module: nn.Module) -> nn.Module:
        raise ValueError("no way")

    relu = rewrites.module("torch.nn.ReLU", name="fine")(lambda module: nn.Identity())
    with pytest.raises(ExportError) as caught, export(relu, broken, module=net):
        pass
    assert str(caught.value) == (
        "In module first: The rewrite 'broken' cannot replace a Doubler: ValueError: no way. Let "
        "replace return the module itself where it has nothing to offer."
    )
    assert isinstance(net.rest[0], nn.ReLU)
    assert library.ops.double(1) == 2


def test_a_module_imported_meanwhile_keeps_nothing(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ModuleType("made_up_late")
    with export(named("mine")):
        late.double = library.ops.double  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "made_up_late", late)
        assert late.double(1) == 3
    assert late.double is double


def test_nested_and_repeated_use(library: Any) -> None:
    @rewrites.function(TARGET)
    def tenfold(original: Callable[..., Any], x: Any) -> Any:
        return original(x) * 10

    for _ in range(2):
        with export(named("mine")):
            with export(tenfold):
                assert library.ops.double(1) == 20, "the inner one has the true original"
            assert library.ops.double(1) == 3
        assert library.ops.double is double


def test_methods_are_replaced_in_their_class() -> None:
    @rewrites.function("torch.Tensor.roll")
    def roll(original: Callable[..., Any], x: torch.Tensor, *args: Any) -> torch.Tensor:
        return original(x, *args) + 100

    tensor = torch.zeros(2)
    with export(roll):
        assert tensor.roll(1).tolist() == [100, 100]
    assert tensor.roll(1).tolist() == [0, 0]
    assert "roll" not in vars(torch.Tensor), "it was inherited, and is again"


def test_original_may_be_called_and_declined(library: Any) -> None:
    @rewrites.function(TARGET)
    def only_floats(original: Callable[..., Any], x: Any) -> Any:
        return -original(x) if isinstance(x, float) else NotImplemented

    with export(only_floats) as changes:
        assert library.ops.double(1.5) == -3
        assert library.ops.double(1) == 2
    assert [entry.count for entry in changes.fired] == [1]


def test_torch_functions_that_call_themselves_are_replaced_once() -> None:
    @rewrites.function("torch.nn.functional.pad")
    def pad(original: Callable[..., Any], x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return original(x, *args, **kwargs) + 1

    module = nn.ReflectionPad1d(1)
    with export(pad, module=module) as changes:
        program = torch.export.export(changes.module, (torch.zeros(1, 3),))
    assert program.module()(torch.zeros(1, 3)).tolist() == [[1] * 5]


def test_modules_share_parameters_and_keep_their_path() -> None:
    class Tripler(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.weight = module.weight
            self.drop = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.drop(x) * 3 * self.weight
            return result

    net = Net().eval()
    before = list(net.state_dict())
    with export(rewrites.module("made_up_lib.ops.Doubler")(Tripler), module=net) as changes:
        assert changes.module is net
        assert net.again is net.first, "one module on two paths stays one"
        assert net(torch.ones(2)).tolist() == [27, 27]
        assert list(net.state_dict()) == before
        assert net.first.weight is net.state_dict(keep_vars=True)["first.weight"]
    assert net(torch.ones(2)).tolist() == [8, 8]
    assert [(f.module_path, f.where, f.count) for f in changes.fired] == [
        ("first", None, 1),
        ("rest.1", None, 1),
    ]


def test_the_root_may_be_replaced() -> None:
    root = Doubler()
    swap = rewrites.module("made_up_lib.ops.Doubler")(lambda module: nn.Identity())
    with export(swap, module=root) as changes:
        assert isinstance(changes.module, nn.Identity)
    assert changes.fired[0].module_path == ""


def test_modules_that_would_lose_something_stay() -> None:
    class Other(Doubler):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class Same(Doubler):
        pass

    hooked = Doubler()
    hooked.register_forward_hook(lambda *_: None)
    net = nn.ModuleList([Other(), Same(), hooked])
    swap = rewrites.module("made_up_lib.ops.Doubler")(lambda module: nn.Identity())
    with export(swap, module=net):
        assert [type(part) for part in net] == [Other, nn.Identity, Doubler]


# Operators


class Call(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Rolls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Doubler()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.roll(self.part(x), 1)


def negate(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return -x


def test_operator_is_broken_up_where_it_stands() -> None:
    rewrite = rewrites.operator("aten::roll", name="negated")(negate)
    with export(rewrite, module=Rolls()) as changes:
        program = torch.export.export(changes.module, (torch.ones(2),))
        broken_up = changes.decompose(program)
    assert broken_up.module()(torch.ones(2)).tolist() == [-2, -2]
    (fired,) = changes.fired
    assert (fired.rewrite, fired.module_path, fired.count) == ("negated", "", 1)
    assert fired.where is not None
    assert fired.where.startswith("test_rewrites.py:")


def test_what_a_decomposition_leaves_alone_is_not_recorded() -> None:
    """Built-in: `roll` is for shifts that are free, `complex_exp` for complex numbers."""
    net = Call(lambda x: torch.roll(torch.exp(x), 1, 0))
    with export(module=net) as changes:
        program = torch.export.export(net, (torch.ones(2),))
        assert changes.decompose(program) is program
    assert changes.fired == []


def test_program_without_the_operator_is_left_alone() -> None:
    with export(rewrites.operator("aten::flip")(negate), module=Rolls()) as changes:
        program = torch.export.export(changes.module, (torch.ones(2),))
        assert changes.decompose(program) is program
    assert changes.fired == []


def test_translation_and_symbolic_are_for_their_exporter() -> None:
    def written(self: Any, shifts: Any, dims: Any = ()) -> Any:
        return self

    pair = [
        rewrites.operator("aten::roll", way=way, name=way)(written)
        for way in ("translation", "symbolic")
    ]
    with export(*pair) as changes:
        assert torch.ops.aten.roll.default in changes.translations
    with export(*pair, exporter="torchscript") as changes:
        assert changes.translations == {}


def test_a_symbolic_of_the_user_comes_back() -> None:
    from modelport.frontends.rewrites.patch import _registered

    def theirs(g: Any, *args: Any) -> Any:
        return args[0]

    torch.onnx.register_custom_op_symbolic("aten::roll", theirs, 17)
    try:
        mine = rewrites.operator("aten::roll", way="symbolic")(theirs)
        with export(mine, exporter="torchscript"):
            assert _registered("aten::roll")[17] is not theirs
            assert 20 in _registered("aten::roll")
        assert _registered("aten::roll") == {17: theirs}
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::roll", 17)


# The record


def test_record_names_the_module_and_the_line(library: Any) -> None:
    net = Net()
    with export(named("mine"), module=net) as changes:
        net(torch.ones(2))
        net.first(torch.ones(2))
    line = Doubler.forward.__code__.co_firstlineno + 1
    assert [(f.rewrite, f.module_path, f.where, f.count) for f in changes.fired] == [
        ("mine", "first", f"test_rewrites.py:{line}", 3),
        ("mine", "rest.1", f"test_rewrites.py:{line}", 1),
    ]


# What cannot be meant


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("made_up_lib.ops.duoble", "There is no 'made_up_lib.ops.duoble', and the rewrite 'mine' "),
        ("made_up_lib.ops.duoble", "Perhaps you meant 'made_up_lib.ops.double'."),
        ("made_up_lib.opps.double", "Perhaps you meant 'made_up_lib.ops'."),
        ("made_up_libb.double", "Perhaps you meant 'made_up_lib'."),
        ("double", "Expected a dotted name such as torch.nn.functional.pad."),
        ("made_up_lib.ops.Doubler", "which is the class Doubler. Expected a function."),
        ("made_up_lib.ops.limit", "which is an object of class int. Expected a function."),
    ],
)
def test_unknown_target(target: str, text: str) -> None:
    with pytest.raises(UsageError) as caught, export(named("mine", target)):
        pass
    assert text in str(caught.value)


def test_function_is_no_module() -> None:
    swap = rewrites.module(TARGET, name="swap")(lambda module: module)
    with pytest.raises(UsageError, match=r"Expected a class derived from nn\.Module"), export(swap):
        pass


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("aten::rol", "There is no 'aten::rol'"),
        ("aten::rol", "Perhaps you meant 'aten::rol"),
        ("aten::roll.defualt", "There is no 'aten::roll.defualt'"),
        ("nolib::op", "There is no 'nolib::op'"),
        ("aten.roll", "Expected namespace::operator, such as aten::roll."),
    ],
)
def test_unknown_operator(target: str, text: str) -> None:
    with pytest.raises(UsageError) as caught, export(rewrites.operator(target)(negate)):
        pass
    assert text in str(caught.value)


def test_unknown_keyword() -> None:
    with pytest.raises(UsageError) as caught:
        rewrites.function(TARGET, engin="onnxruntime")(double)
    assert str(caught.value) == (
        "A rewrite of 'made_up_lib.ops.double' was given the keyword 'engin'. Expected one of name, "
        "summary, needed_by, engine, package, exporters, graph_only. Perhaps you meant 'engine'."
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"engine": "onnxruntim"}, "There is no engine named 'onnxruntim'."),
        ({"package": "timm 1.0"}, "is for the package 'timm 1.0'. Expected a requirement"),
        ({"exporters": ("dynamo",)}, "is for the exporter 'dynamo'. Expected any of torch.export"),
    ],
)
def test_scope_that_does_not_exist(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        named("mine", **settings)
    assert text in str(caught.value)


def test_other_mistakes() -> None:
    with pytest.raises(UsageError, match="There is no exporter 'onnx'"), export(exporter="onnx"):
        pass
    with pytest.raises(UsageError, match="was given as a rewrite"), export(double):  # type: ignore[arg-type]
        pass
    with pytest.raises(UsageError, match="There is no way 'script'"):
        rewrites.operator("aten::roll", way="script")


# The registry


def test_name_and_summary_come_from_the_function() -> None:
    @rewrites.function(TARGET)
    def triple(original: Callable[..., Any], x: Any) -> Any:
        """Multiplies by three.

        More than that is not known.
        """

    assert (triple.name, triple.summary) == ("triple", "Multiplies by three")
    assert (triple.kind, triple.scope) == ("function", "everywhere")
    scoped = named("n", engine="openvino", package="torch>=2")
    assert scoped.scope == "openvino, torch>=2"


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, library: ModuleType) -> Registry[Any]:
    """A registry without built-in members, and a package that offers one rewrite."""
    library.theirs = named("theirs", needed_by="their models")  # type: ignore[attr-defined]
    point = EntryPoint("theirs", "made_up_lib:theirs", "modelport.rewrites")
    monkeypatch.setattr(registry, "entry_points", lambda *, group: EntryPoints([point]))
    members: Registry[Any] = Registry("rewrite", {})
    monkeypatch.setattr(rewrites, "REWRITES", members)
    return members


def test_rewrites_of_other_packages_apply(offered: Registry[Any], library: Any) -> None:
    with export():
        assert library.ops.double(1) == 3
    (row,) = rewrites.rows()
    assert row == {
        "name": "theirs",
        "kind": "function",
        "target": TARGET,
        "scope": "everywhere",
        "exporters": "torch.export, torchscript",
        "needed_by": "their models",
        "summary": "Multiplies by three",
        "status": "applies",
    }


def test_target_whose_package_nobody_imported_is_passed_over(
    offered: Registry[Any], library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.theirs.target = "surely_not_here.function"
    with export() as changes:
        assert changes.fired == []
    assert rewrites.rows()[0]["status"] == "surely_not_here is not installed"


def test_target_whose_file_nobody_imported_is_not_imported_for_it(
    offered: Registry[Any], library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_up_package").mkdir()
    (tmp_path / "made_up_package" / "__init__.py").touch()
    (tmp_path / "made_up_package" / "slow.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "made_up_package", importlib.import_module("made_up_package"))
    library.theirs.target = "made_up_package.slow.Class.method"
    with export() as changes:
        assert changes.fired == []


def test_operator_whose_namespace_nobody_defined_is_passed_over(
    offered: Registry[Any], library: Any
) -> None:
    library.theirs = rewrites.operator("surely_not_here::operator")(negate)
    with export() as changes:
        assert changes.decompositions == {}


def test_rows_say_why_one_rests(offered: Registry[Any], library: Any) -> None:
    library.theirs.package = "torch<2"
    status = rewrites.rows()[0]["status"]
    assert status.startswith("for torch<2, and torch is 2.")

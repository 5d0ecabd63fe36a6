"""The preflight: for each kind of finding a module that has it, and one that does not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from modelport.engines import ENGINES
from modelport.engines.base import Rules
from modelport.errors import UnknownNameError
from modelport.frontends.preflight import Finding, Preflight, examine
from modelport.frontends.rewrites import OperatorRewrite
from modelport.show_preflight import show_preflight

HERE = Path(__file__)
X = torch.arange(8.0).reshape(2, 4) - 3
LONGER = ((torch.arange(12.0).reshape(3, 4) - 4,), {})


class Calls(nn.Module):
    """A module whose forward is a function of the tests."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def line_of(marker: str) -> int:
    lines = HERE.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {marker}"))


def check(
    what: Callable[[Tensor], Any] | nn.Module, *other: Any, **settings: Any
) -> tuple[Finding, ...]:
    module = what if isinstance(what, nn.Module) else Calls(what).eval()
    return examine(module, (X.clone(),), {}, other=other, **settings).findings


def summary(findings: Sequence[Finding]) -> list[tuple[str, str, int | None]]:
    return [(each.kind, each.severity, each.line) for each in findings]


def sign_branch(x: Tensor) -> Tensor:
    if x.sum() > 0:  # branch
        return x + 1
    return x - 1


def constant_branch(x: Tensor) -> Tensor:
    if (x * x).sum() >= 0:  # constant branch
        return x + 1
    return x - 1


def own_constants(x: Tensor) -> Tensor:
    limit = torch.tensor(3.0)
    if limit > 2:
        return x * 2
    return x


def branch_on_zeros(x: Tensor) -> Tensor:
    if torch.zeros_like(x).sum() > 0:  # zeros
        return x * 2
    return x


def shape_of_item(x: Tensor) -> Tensor:
    count = int(x.abs().max().item())
    wider = x.new_ones(int(x.abs().sum().item()) // 30 + 1)  # item
    return x + wider[0] * 0 + count * 0


def item_followed(x: Tensor) -> Tensor:
    return x * x.max().item()  # item followed


def python_number(x: Tensor) -> Tensor:
    return x * int(x.max())  # number


def numpy_square(x: Tensor) -> Tensor:
    return x + torch.from_numpy(np.square(x.numpy()))  # numpy


def tensor_of_size(x: Tensor) -> Tensor:
    return x * torch.tensor(x.shape[0] + 1)  # created


def edited_input(x: Tensor) -> Tensor:
    x.unsqueeze_(0)  # edit
    return x * 2


def reshaped(x: Tensor) -> Tensor:
    return x.unsqueeze(0) * 2


def assigned_shape(x: Tensor) -> Tensor:
    x.shape[0] = 3  # shape assigned
    return x


def sizes(x: Tensor) -> Tensor:
    half = x[: math.ceil(x.shape[0] / 2)]  # ceiling
    rows, _ = x.shape
    total = x.new_zeros(4)
    for index in range(rows):  # loop
        total = total + x[index]
    return half.sum() + total * float(np.sqrt(rows))  # root


def good_sizes(x: Tensor) -> Tensor:
    rows, columns = x.shape
    weight = torch.ones(3, 4)
    return x[: -(-rows // 2)].sum() + x.reshape(columns, rows).sum() * weight[0]


def walked(x: Tensor) -> Tensor:
    total = 0
    for row in x:  # walked
        total = total + row
    return total


def determinant(x: Tensor) -> Tensor:
    return torch.lgamma(x.abs() + 1)  # untranslated


def unpooled(x: Tensor) -> Tensor:
    return torch.linalg.det(x.reshape(2, 2, 2))  # lacking


def dropped(x: Tensor) -> Tensor:
    return functional.dropout(x, 0.5)  # dropout


def noisy(x: Tensor) -> Tensor:
    return x + torch.randn_like(x)  # random


def outside(x: Tensor) -> Tensor:
    return x + random.random()


def quiet_random(x: Tensor) -> Tensor:
    return functional.dropout(x, 0.9, training=False) + torch.randn(3).sum() * 0


def fixed_output(x: Tensor) -> tuple[Tensor, Tensor]:
    return x + 1, torch.ones(2) * 3


def broken(x: Tensor) -> Tensor:
    return x @ x  # broken


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (sign_branch, [("branch", "error", "branch")]),
        (constant_branch, [("branch", "warning", "constant branch")]),
        (item_followed, [("item", "warning", "item followed")]),
        (python_number, [("python-number", "error", "number")]),
        (numpy_square, [("numpy", "error", "numpy")]),
        (edited_input, [("shape-edit", "error", "edit")]),
        (assigned_shape, [("shape-edit", "error", "shape assigned")]),
        (determinant, [("untranslated", "error", "untranslated")]),
        (dropped, [("train-mode", "error", "dropout")]),
        (noisy, [("nondeterministic", "error", "random")]),
        (broken, [("fails", "error", "broken")]),
    ],
)
def test_one_finding_with_its_line(
    function: Callable[[Tensor], Tensor], expected: list[tuple[str, str, str]]
) -> None:
    found = check(function)
    assert summary(found) == [(kind, how, line_of(marker)) for kind, how, marker in expected]
    assert {each.file for each in found} == {str(HERE)}
    assert all(each.seen and each.suggestion for each in found)


def test_nothing_is_found_in_what_is_right() -> None:
    for function in (own_constants, reshaped, quiet_random):
        assert check(function) == ()
    assert check(good_sizes, LONGER) == ()


def test_a_branch_on_a_constant_is_left_to_the_export() -> None:
    (found,) = check(branch_on_zeros)
    assert (found.kind, found.line) == ("branch", line_of("zeros"))
    assert found.seen.startswith(f"The export stops at {HERE.name}:")


def test_a_size_made_of_values_is_an_error() -> None:
    found = check(shape_of_item, ((X * 9,), {}))
    assert ("item", "error", line_of("item")) in summary(found)


def test_a_number_that_moves_with_the_size() -> None:
    assert summary(check(tensor_of_size, LONGER)) == [
        ("python-number", "warning", line_of("created"))
    ]


def test_python_on_sizes_is_read_from_the_lines_that_ran() -> None:
    found = check(sizes)
    assert summary(found) == [
        ("python-number", "warning", line_of("ceiling")),
        ("size-loop", "warning", line_of("loop")),
        ("numpy", "warning", line_of("root")),
    ]
    assert all("once that size is free" in each.suggestion for each in found)
    freed = check(sizes, LONGER)
    assert all("this size is free" in each.suggestion for each in freed if each.file)
    assert any(each.severity == "error" for each in freed)


def test_walking_over_a_size_that_varies() -> None:
    kinds = summary(check(walked, LONGER))
    assert ("size-loop", "warning", line_of("walked")) in kinds
    assert check(walked) == ()


def test_an_output_that_never_moves() -> None:
    (found,) = check(fixed_output)
    assert (found.kind, found.severity) == ("constant-output", "warning")
    assert found.seen == "The output '1' is not computed from the inputs"


def test_weights_that_hide_the_input() -> None:
    layer = nn.Linear(4, 2)
    nn.init.zeros_(layer.weight)
    (found,) = check(nn.Sequential(layer).eval())
    assert (found.kind, found.severity) == ("constant-output", "note")


def test_randomness_that_torch_does_not_know() -> None:
    (found,) = check(outside)
    assert found.kind == "nondeterministic"
    assert found.seen.startswith("Something outside torch is random")


class Counting(nn.Module):
    def __init__(self, used: bool) -> None:
        super().__init__()
        self.used = used
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(1)  # buffer
        return x + self.seen if self.used else x * 2


class Remembering(nn.Module):
    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = x if self.last is None else self.last
        self.last = x * 2  # attribute
        return x + before


def test_state_that_the_next_result_needs() -> None:
    counting = nn.Sequential(Counting(used=True)).eval()
    (found,) = check(counting)
    assert (found.kind, found.line, found.module_path) == ("state", line_of("buffer"), "0")
    assert found.seen.startswith("The buffer 'seen' changes")
    assert counting[0].seen == 0
    remembering = Remembering().eval()
    (found,) = check(remembering)
    assert (found.kind, found.line) == ("state", line_of("attribute"))
    assert remembering.last is None


def test_state_that_nothing_reads_is_no_finding() -> None:
    assert check(Counting(used=False).eval()) == ()


def test_layers_in_training_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Dropout(0.5))
    found = check(net)
    assert [(each.severity, each.module_path, each.count) for each in found] == [
        ("note", "1", 2),
        ("note", "2", 1),
    ]
    assert net.training
    assert net[1].training
    assert check(net.eval()) == ()


class Statistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # statistics


def test_batch_statistics() -> None:
    (found,) = check(Statistics().eval())
    assert (found.kind, found.severity) == ("train-mode", "warning")
    assert (found.line, found.module_path) == (line_of("statistics"), "norm")


def test_the_module_of_a_finding() -> None:
    (found,) = check(nn.Sequential(nn.Identity(), nn.Sequential(Calls(sign_branch))).eval())
    assert found.module_path == "1.0"


def test_operators_that_an_engine_lacks() -> None:
    assert check(unpooled) == ()
    (found,) = check(unpooled, engines=["onnxruntime", "openvino"])
    assert (found.kind, found.severity, found.line) == ("engine-lacks", "error", line_of("lacking"))
    assert found.seen.startswith("openvino lacks the operator Det: ")
    with pytest.raises(UnknownNameError, match="no engine named 'onxruntime'"):
        check(unpooled, engines=["onxruntime"])


class Lgamma(OperatorRewrite):
    name = "lgamma"
    target = "prims::lgamma.default"

    def translation(self) -> Callable[..., Any]:
        return lambda self: self


def test_rewrites_count_as_translations() -> None:
    assert check(determinant, rewrites=[Lgamma()]) == ()


def test_what_the_rules_know(tmp_path: Path) -> None:
    rules = ENGINES.get("onnxruntime").rules
    assert rules.lacks("Conv") is None
    assert rules.lacks("NobodyKnows") is None
    assert rules.lacks("FusedMatMul", "com.microsoft") is None
    assert rules.lacks("Foo", "my.domain") == "it takes no operators of the domain my.domain"
    assert rules.lacks("RoiAlign", opset=20) is None
    assert rules.lacks("RoiAlign", opset=22) == "it takes it up to opset 20"
    assert "ImageDecoder" in str(rules.lacks("ImageDecoder", "ai.onnx"))
    assert Rules(opsets=(7, 20)).lacks("Foo", "my.domain") is None


def test_other_names_the_arguments_by_keyword() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor, *, scale: Tensor | None = None) -> Tensor:
            return x if scale is None else x * scale

    other = [((torch.ones(3, 4),), {"scale": torch.ones(3, 1)})]
    found = examine(Named().eval(), (X,), {"scale": torch.ones(2, 1)}, other=other)
    assert found.findings == ()
    assert found.passed


def findings() -> Preflight:
    return Preflight.of(
        [
            Finding("state", "note", "c", "Do c"),
            Finding("item", "error", "b [x]", "Do b", str(HERE), 7, "head"),
            Finding("item", "error", "b [x]", "Do b", str(HERE), 7, "head"),
            Finding("item", "error", "a", "Do a", str(HERE), 3),
        ]
    )


def test_findings_are_sorted_and_counted() -> None:
    found = findings()
    assert [(each.seen, each.count) for each in found.findings] == [
        ("a", 1),
        ("b [x]", 2),
        ("c", 1),
    ]
    assert not found.passed
    told = found.to_json()
    assert told["passed"] is False
    assert told["findings"][1] == {
        "kind": "item", "severity": "error", "seen": "b [x]", "suggestion": "Do b",
        "file": str(HERE), "line": 7, "module_path": "head", "count": 2,
    }  # fmt: skip


def test_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parent)
    console = Console(width=100, record=True, file=StringIO())
    show_preflight(console, findings())
    assert console.export_text().splitlines() == [
        "Errors: they stop an export, or make it wrong",
        "  test_preflight_kinds.py:3  a",
        "    -> Do a item",
        "  test_preflight_kinds.py:7 in head  b [x] (2 times)",
        "    -> Do b item",
        "Notes",
        "  the model  c",
        "    -> Do c state",
        "Not ready to export: 2 errors, 1 note.",
    ]
    console = Console(width=100, record=True, file=StringIO())
    show_preflight(console, Preflight(()))
    assert console.export_text() == "Ready to export: nothing found.\n"

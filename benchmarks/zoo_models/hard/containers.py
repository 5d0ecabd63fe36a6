"""Nested inputs and outputs, and every way to declare the parameters of `forward`."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo_models.case import Case, floats, pictures

X, Y = floats((2, 8)), floats((2, 8))


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


@dataclass
class Sample:
    image: Any
    scale: Any = None


@dataclass
class Prediction:
    scores: Tensor
    hidden: Tensor | None = None


# torch.export wants a dataclass to be known before it goes in or out, and users are told so.
for _kind in (Sample, Prediction):
    torch.export.register_dataclass(_kind)


class Net(nn.Module):
    """What most of these share."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)


class DictOut(Net):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.fc(x)
        return {"scores": hidden.softmax(1), "hidden": hidden}


class NestedOut(Net):
    def forward(self, x: Tensor) -> Any:
        a = self.fc(x)
        return (a, (a + 1, [a * 2, {"deep": (a * 3,)}]))


class OrderedOut(Net):
    def forward(self, x: Tensor) -> Any:
        return OrderedDict(z=self.fc(x), a=x.sum(1))


class NamedTupleOut(Net):
    def forward(self, x: Tensor) -> Pair:
        return Pair(self.fc(x), x.mean(1))


class DataclassOut(Net):
    def forward(self, x: Tensor) -> Prediction:
        return Prediction(self.fc(x))


class NoneOut(Net):
    def forward(self, x: Tensor) -> Any:
        return self.fc(x), None, x.sum()


class ScalarOut(Net):
    """Numbers of Python beside a tensor."""

    def forward(self, x: Tensor) -> Any:
        return {"y": self.fc(x), "size": x.shape[1], "factor": 0.5, "flag": True}


class WordsOut(Net):
    """A dictionary that holds no tensors alone."""

    def forward(self, x: Tensor) -> Any:
        return {"y": self.fc(x), "task": "scores", "names": ("a", "b")}


class SameTwice(Net):
    def forward(self, x: Tensor) -> Any:
        y = self.fc(x)
        return y, y, {"again": y}


class InputReturned(Net):
    def forward(self, x: Tensor) -> Any:
        return x, self.fc(x)


class ViewReturned(Net):
    def forward(self, x: Tensor) -> Any:
        return x.view(-1), x.detach(), self.fc(x)


class WeightReturned(Net):
    def forward(self, x: Tensor) -> Any:
        return self.fc(x), self.fc.bias


class UnusedInput(Net):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.fc(x)


class DictIn(Net):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.fc(batch["image"]) * batch["scale"]


class NestedIn(Net):
    def forward(self, batch: dict[str, Any], x: Tensor) -> Tensor:
        first, (second, third) = batch["list"]
        return self.fc(first + second) + third * x.sum() + batch["deep"]["bias"]


class ListIn(Net):
    def forward(self, features: list[Tensor]) -> Tensor:
        return self.fc(torch.stack(features).mean(0))


class NamedTupleIn(Net):
    def forward(self, pair: Pair) -> Tensor:
        return self.fc(pair.left) - pair.right


class DataclassIn(Net):
    def forward(self, sample: Sample) -> Tensor:
        y = self.fc(sample.image)
        return y if sample.scale is None else y * sample.scale


class OptionalIn(Net):
    def forward(self, x: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        y = self.fc(x)
        if mask is not None:
            y = y * mask
        return y if bias is None else y + bias


class KeywordOnly(Net):
    def forward(self, *, x: Tensor, y: Tensor | None = None, scale: float = 2.0) -> Tensor:
        y = x if y is None else y
        return self.fc(x - scale * y)


class Starred(Net):
    def forward(self, *features: Tensor) -> Tensor:
        return self.fc(sum(features))


class StarredNames(Net):
    def forward(self, x: Tensor, **extras: Tensor) -> Tensor:
        return self.fc(x + extras["shift"])


class PositionalOnly(Net):
    def forward(self, x: Tensor, y: Tensor, /) -> Tensor:
        return self.fc(x) / (1 + self.fc(y).abs())


class Flags(Net):
    """Numbers and booleans choose what is computed; they are no tensors."""

    def forward(
        self, x: Tensor, times: int = 1, negate: bool = False, mode: str = "relu"
    ) -> Tensor:
        y = self.fc(x)
        for _ in range(times):
            y = y + 1
        y = torch.relu(y) if mode == "relu" else torch.tanh(y)
        return -y if negate else y


class Pyramid(nn.Module):
    """Feature maps by name in, by level out, with free sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleDict({"c3": nn.Conv2d(4, 6, 1), "c4": nn.Conv2d(8, 6, 1)})

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        sides = {name: layer(features[name]) for name, layer in self.lateral.items()}
        size = sides["c3"].shape[-2:]
        top = nn.functional.interpolate(sides["c4"], size=size, mode="nearest")
        return [sides["c3"] + top, sides["c4"]]


def _case(name: str, build: Any, inputs: Any, **settings: Any) -> Case:
    return Case(f"containers/{name}", build, inputs, **settings)


CASES = [
    _case("dict_out", DictOut, {"x": floats((2, 8), (3, 8))}),
    _case("nested_out", NestedOut, {"x": X}),
    _case("ordered_out", OrderedOut, {"x": X}),
    _case("named_tuple_out", NamedTupleOut, {"x": X}),
    _case("dataclass_out", DataclassOut, {"x": X}),
    _case("none_out", NoneOut, {"x": X}),
    _case("scalar_out", ScalarOut, {"x": X}),
    _case("words_out", WordsOut, {"x": X}),
    _case("same_twice", SameTwice, {"x": X}),
    _case("input_returned", InputReturned, {"x": X}),
    _case("view_returned", ViewReturned, {"x": X}),
    _case("weight_returned", WeightReturned, {"x": X}),
    _case("unused_input", UnusedInput, {"x": X, "y": Y}),
    _case("dict_in", DictIn, {"batch": {"image": floats((2, 8), (3, 8)), "scale": floats((1,))}}),
    _case(
        "nested_in",
        NestedIn,
        {"batch": {"list": [X, (Y, floats((1,)))], "deep": {"bias": floats((4,))}}, "x": X},
    ),
    _case("list_in", ListIn, {"features": [X, Y, floats((2, 8))]}),
    _case("named_tuple_in", NamedTupleIn, {"pair": Pair(X, floats((2, 4)))}),
    _case("dataclass_in", DataclassIn, {"sample": Sample(X, floats((1,)))}),
    _case("dataclass_in_half_empty", DataclassIn, {"sample": Sample(X)}),
    _case("optional_left_out", OptionalIn, {"x": X}),
    _case("optional_given", OptionalIn, {"x": X, "mask": floats((2, 4)), "bias": floats((4,))}),
    _case("optional_skipped", OptionalIn, {"x": X, "bias": floats((4,))}),
    _case("optional_none", OptionalIn, {"x": X, "mask": None, "bias": floats((4,))}),
    _case("keyword_only", KeywordOnly, {"x": X, "y": Y}),
    _case("keyword_only_number", KeywordOnly, {"x": X, "y": Y, "scale": 0.5}),
    _case("starred", Starred, (X, Y, floats((2, 8)))),
    _case("starred_names", StarredNames, {"x": X, "shift": Y}),
    _case("positional_only", PositionalOnly, (X, Y)),
    _case("flags", Flags, {"x": X, "times": 3, "negate": True, "mode": "tanh"}),
    _case("flags_default", Flags, {"x": floats((2, 8), (4, 8))}),
    _case(
        "pyramid",
        Pyramid,
        {
            "features": {
                "c3": pictures((2, 4, 16, 12), (1, 4, 20, 24)),
                "c4": pictures((2, 8, 8, 6), (1, 8, 10, 12)),
            }
        },
    ),
]

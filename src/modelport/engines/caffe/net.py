"""A network of Caffe layers while it is written, and its two files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.engines.caffe.message import net_parameter
from modelport.graph.query import constant_of
from modelport.graph.shapes import Shapes
from modelport.types import Array

if TYPE_CHECKING:
    import onnx_ir as ir

PROTOTXT, CAFFEMODEL = "model.prototxt", "model.caffemodel"


class CannotExpressError(Exception):
    """No layer of Caffe, and no few of them, compute what a node does; in words why."""


@dataclass(frozen=True)
class Layer:
    """Attributes:
    name: its name; that of its top where it has one, for there are readers that know outputs so.
    kind: its type, in Caffe's words.
    settings: the fields of its own message, by the name of that message in a layer.
    blobs: its weights.
    """

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    blobs: tuple[Array, ...] = ()


class Net:
    """Layers so far, and which blob each value of the graph is."""

    def __init__(self, model: ir.Model) -> None:
        self.layers: list[Layer] = []
        self._blobs: dict[ir.Value, str] = {}
        self._shapes = Shapes(model)
        self._taken = {value.name or "" for value in _values(model)}

    # --- values of the graph ---

    def blob(self, value: ir.Value | None) -> str:
        if value is None:
            raise CannotExpressError("an input is left out")
        if value not in self._blobs:
            if constant_of(value) is not None:
                raise CannotExpressError("an input is a constant where Caffe wants a blob")
            return (
                value.name or ""
            )  # of a node that has been refused: only reasons are collected now
        return self._blobs[value]

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """What follows from the sizes of the inputs, whatever the graph says of its outputs."""
        known = self._shapes.of(value) or (None,)
        sizes = tuple(size for size in known if isinstance(size, int))
        if len(sizes) != len(known):
            raise CannotExpressError("the shape of a value is not known")
        return sizes

    def knows(self, value: ir.Value) -> bool:
        return value in self._blobs

    def give(self, value: ir.Value, blob: str) -> None:
        """From now on that blob is the value."""
        self._blobs[value] = blob

    def fresh(self, stem: str) -> str:
        number = 0
        while f"{stem}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{stem}_{number}")
        return f"{stem}_{number}"

    # --- layers ---

    def add(
        self,
        kind: str,
        bottoms: Sequence[str],
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        blobs: Sequence[Array] = (),
        *,
        top: str | None = None,
    ) -> str:
        """A layer with one top, which it is named after; returns that name."""
        name = top or self.fresh(f"{bottoms[0] if bottoms else 'blob'}_{kind.lower()}")
        made = tuple(np.ascontiguousarray(blob, np.float32) for blob in blobs)
        self.layers.append(Layer(name, kind, tuple(bottoms), (name,), settings or {}, made))
        return name

    def slices(self, bottom: str, axis: int, points: Sequence[int]) -> list[str]:
        """The parts of a blob between those points."""
        tops = tuple(self.fresh(f"{bottom}_part") for _ in range(len(points) + 1))
        settings = {"slice_param": {"axis": axis, "slice_point": list(points)}}
        self.layers.append(Layer(tops[0], "Slice", (bottom,), tops, settings))
        return list(tops)

    def crop(self, bottom: str, size: int, axis: int, start: int, stop: int) -> str:
        """The part of a blob from `start` to `stop`; what is left over is silenced."""
        points = [point for point in (start, stop) if 0 < point < size]
        if not points:
            return bottom
        tops = self.slices(bottom, axis, points)
        wanted = tops[1 if start > 0 else 0]
        for other in tops:
            if other != wanted:
                name = self.fresh(f"{other}_silence")
                self.layers.append(Layer(name, "Silence", (other,), ()))
        return wanted

    def reshape(
        self, bottom: str, before: Sequence[int], after: Sequence[int], top: str | None = None
    ) -> str:
        """The same numbers in another shape; the first size is kept by its place where it stays."""
        if tuple(before) == tuple(after) and top is None:
            return bottom
        flat = len(before) > 2 and tuple(after) == (before[0], int(np.prod(before[1:])))
        if flat:
            return self.add("Flatten", [bottom], {"flatten_param": {"axis": 1}}, top=top)
        dims = [0 if index == 0 and before and size == before[0] else size
                for index, size in enumerate(after)]  # fmt: skip
        return self.add("Reshape", [bottom], {"reshape_param": {"shape": {"dim": dims}}}, top=top)

    def power(
        self,
        bottom: str,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        power: float = 1.0,
        top: str | None = None,
    ) -> str:
        """(shift + scale * x) ^ power"""
        named = {"power": power, "scale": scale, "shift": shift}
        defaults = {"power": 1.0, "scale": 1.0, "shift": 0.0}
        settings = {name: value for name, value in named.items() if value != defaults[name]}
        return self.add("Power", [bottom], {"power_param": settings}, top=top)

    def relu(self, bottom: str, top: str | None = None) -> str:
        return self.add("ReLU", [bottom], top=top)

    # --- files ---

    def write(self, directory: Path) -> None:
        from google.protobuf import text_format

        bare = _message(self.layers, weights=False)
        text = text_format.MessageToString(bare)
        (directory / PROTOTXT).write_text(text, encoding="utf-8")
        (directory / CAFFEMODEL).write_bytes(
            _message(self.layers, weights=True).SerializeToString()
        )


def _message(layers: Sequence[Layer], *, weights: bool) -> Any:
    net = net_parameter()(name="modelport")
    for each in layers:
        layer = net.layer.add(name=each.name, type=each.kind)
        layer.bottom.extend(each.bottoms)
        layer.top.extend(each.tops)
        for name, settings in each.settings.items():
            getattr(layer, name).SetInParent()
            _fill(getattr(layer, name), settings)
        for array in each.blobs if weights else ():
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.reshape(-1).tolist())
    return net


def _fill(message: Any, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _fill(getattr(message, name), value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for each in value:
                _fill(getattr(message, name).add(), each)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            kind = message.DESCRIPTOR.fields_by_name[name].enum_type
            setattr(message, name, kind.values_by_name[value].number if kind else value)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs

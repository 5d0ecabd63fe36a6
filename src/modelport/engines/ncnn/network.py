"""The text that describes a network of ncnn: a layer to a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAGIC = "7767517"

HANDS_ON = ("Split", "Noop")
"""Layers that give what they take."""


@dataclass(frozen=True)
class Layer:
    """Parameters by number, as text."""

    kind: str
    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    parameters: dict[str, str]

    @classmethod
    def parse(cls, line: str) -> Layer:
        """Raises ValueError where the line describes no layer."""
        kind, name, takes, gives, *rest = _parts(line)
        first, last = int(takes), int(takes) + int(gives)
        if len(rest) < last or any("=" not in part for part in rest[last:]):
            raise ValueError(f"the layer {line:.80} does not have the blobs it promises")
        given = dict(part.split("=", 1) for part in rest[last:])
        return cls(kind, name, tuple(rest[:first]), tuple(rest[first:last]), given)

    def __str__(self) -> str:
        told = [f"{number}={value}" for number, value in self.parameters.items()]
        counts = [str(len(self.takes)), str(len(self.gives))]
        return " ".join([self.kind, self.name, *counts, *self.takes, *self.gives, *told])

    def number(self, place: int, otherwise: int = 0) -> int:
        return int(self.parameters.get(str(place), otherwise))


@dataclass(frozen=True)
class Network:
    layers: tuple[Layer, ...]

    @classmethod
    def read(cls, path: Path) -> Network:
        return cls.parse(path.read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> Network:
        """Raises ValueError, with the reason, where ncnn would not read it, or would read too little."""
        first, second, *lines = [*(line for line in text.splitlines() if line.strip()), "", ""]
        if first.strip() != MAGIC:
            raise ValueError(f"it begins with {first[:20]!r} and not with {MAGIC}")
        layers = tuple(Layer.parse(line) for line in lines if line)
        _demand_counts(second, layers)
        _demand_order(layers)
        return cls(layers)

    def write(self, path: Path) -> None:
        blobs = sum(len(layer.gives) for layer in self.layers)
        lines = [MAGIC, f"{len(self.layers)} {blobs}", *map(str, self.layers)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def readers(self, blob: str) -> Iterator[Layer]:
        """Layers that take that blob, also through those that hand it on."""
        same = {blob}
        for layer in self.layers:
            if same.isdisjoint(layer.takes):
                continue
            if layer.kind in HANDS_ON:
                same.update(layer.gives)
            else:
                yield layer


def _parts(line: str) -> list[str]:
    parts = line.split()
    if len(parts) < 4 or not all(part.isdecimal() and len(part) < 8 for part in parts[2:4]):
        raise ValueError(f"the line {line[:80]!r} is no layer")
    return parts


def _demand_counts(said: str, layers: Sequence[Layer]) -> None:
    """Blobs may be fewer than said, as in files that were edited by hand: ncnn leaves room for them."""
    counts = said.split()
    if len(counts) != 2 or not all(count.isdecimal() for count in counts):
        raise ValueError(f"its second line is {said[:40]!r}, and not two counts")
    given = sum(len(layer.gives) for layer in layers)
    if int(counts[0]) != len(layers):
        raise ValueError(f"it promises {counts[0]} layers and has {len(layers)}")
    if int(counts[1]) < given:
        raise ValueError(f"it promises {counts[1]} blobs and has {given}")


def _demand_order(layers: Sequence[Layer]) -> None:
    """Each blob is given once, and before it is taken."""
    given: set[str] = set()
    for layer in layers:
        for blob in layer.takes:
            if blob not in given:
                raise ValueError(f"no layer gives {blob[:40]!r} before {layer.name[:40]} takes it")
        for blob in layer.gives:
            if blob in given:
                raise ValueError(f"the blob {blob[:40]!r} is given twice")
            given.add(blob)

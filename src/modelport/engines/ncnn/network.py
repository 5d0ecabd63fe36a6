"""The text that describes a network of ncnn: a layer to a line."""

from __future__ import annotations

from collections.abc import Iterator
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
        kind, name, takes, gives, *rest = line.split()
        first, last = int(takes), int(takes) + int(gives)
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
        lines = path.read_text(encoding="utf-8").splitlines()
        return cls(tuple(Layer.parse(line) for line in lines[2:] if line.strip()))

    def write(self, path: Path) -> None:
        blobs = sum(len(layer.gives) for layer in self.layers)
        lines = [MAGIC, f"{len(self.layers)} {blobs}", *map(str, self.layers)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def readers(self, blob: str) -> Iterator[Layer]:
        """Layers that take that blob, also through those that hand it on."""
        for layer in self.layers:
            if blob in layer.takes:
                if layer.kind in HANDS_ON:
                    for given in layer.gives:
                        yield from self.readers(given)
                else:
                    yield layer

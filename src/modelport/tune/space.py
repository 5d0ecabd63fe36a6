"""What may be chosen: an artifact, and how it runs."""

from __future__ import annotations

from dataclasses import dataclass

from modelport.cores import usable_cores


@dataclass(frozen=True)
class Choice:
    """One way to run the model.

    Attributes:
        kind: engine, precision or scheme, and route, in one name.
        family: the engine and its route; members of one are alike.
        threads: for the engine; 0 leaves the number to it, and no other is tried.
        first: whether it has the precision that stands for its family.
        layout: what was asked for; empty where the layout is the engine's own choice.
        base: engine and precision alone, which both routes of an engine share.
        direct: whether the engine takes the PyTorch program, which costs it more time than a graph.
        quantized: whether it computes with small numbers that calibration found scales for.
    """

    kind: str
    family: str
    threads: int = 0
    first: bool = False
    layout: str = ""
    base: str = ""
    direct: bool = False
    quantized: bool = False

    @property
    def artifact(self) -> str:
        """What is compiled for it."""
        return f"{self.kind}-{self.layout}" if self.layout else self.kind

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.threads}t" if self.threads else self.artifact


def thread_counts(cores: int | None = None) -> list[int]:
    """Numbers worth trying: powers of two up to that of the processors, and that one; the largest first."""
    most = cores or usable_cores()
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return [most, *reversed(powers)]

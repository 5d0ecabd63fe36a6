"""When the windows of a tensor were, in the recording that they were made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeline:
    """What a result needs to say when something was.

    Attributes:
        rate: samples in a second, as the model hears them.
        samples: length of the recording at that rate.
        hop: samples from the start of one window to that of the next.
        first: sample where the first window starts; later ones of a stream start later.
    """

    rate: int
    samples: int
    hop: int
    first: int = 0

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.samples / self.rate

    def start(self, window: int) -> int:
        """The sample where a window starts, what it sees before that left out."""
        return self.first + window * self.hop

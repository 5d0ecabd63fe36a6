"""Answers bit by bit, with what the model remembers carried from one call to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.errors import UsageError
from modelport.runtime.tasks.base import Result
from modelport.runtime.timeline import Timeline
from modelport.runtime.transforms.base import FIRST, Prepared
from modelport.runtime.transforms.hearing import SoundPreprocessor
from modelport.types import Array, Outputs

if TYPE_CHECKING:
    from modelport.runtime.predictor import Predictor


class Stream:
    """One recording, or one sequence of other inputs. For one thread at a time.

    Each has a state of its own, so many of one predictor may be open at once.

    Args:
        predictor: whose model answers.
        keep: whether outputs are kept for `result`; they take memory as long as the stream goes on.

    Raises:
        UsageError: where the transforms need a recording as a whole.
    """

    def __init__(self, predictor: Predictor, *, keep: bool = False) -> None:
        preprocessor = predictor.preprocessor
        self._sound = preprocessor if isinstance(preprocessor, SoundPreprocessor) else None
        reason = None if self._sound is None else self._sound.streams
        if reason is not None:
            raise UsageError(
                f"This model cannot answer for a stream: {reason}",
                hint="Call the predictor with whole recordings",
            )
        self._predictor, self._keep = predictor, keep
        self._state = predictor.state()
        self.reset()

    def reset(self) -> None:
        """Forgets everything: what comes next is a beginning."""
        self._state.reset()
        self._rest: Array | None = None
        self._kept: list[Outputs] = []
        self._done = 0
        self._samples = 0

    def __call__(self, item: Any) -> list[Result]:
        """The results for what became whole: one for each window of sound, else one for the item.

        Args:
            item: for sound an array of samples, or of samples x channels, any number of them, at the rate
                of the model; else what the predictor takes.
        """
        if self._sound is None:
            return [self._answered(self._predictor.prepare(item))]
        chunk = self._sound.chunk(item)
        self._samples += chunk.shape[-1]
        return self._windows(chunk)

    def finish(self) -> list[Result]:
        """The results for the rest of a recording, with silence after it. A `reset` begins the next one."""
        if self._sound is None or self._rest is None:
            return []
        windows = self._sound.windows
        assert windows is not None
        wanted = windows.count(self._samples) * windows.hop
        missing = max(0, wanted - self._samples) + windows.after
        return self._windows(np.zeros((len(self._rest), missing), np.float32))

    def result(self) -> Result:
        """One result for everything since the beginning.

        Raises:
            UsageError: where the outputs were not kept, or there are none yet.
        """
        if not self._kept:
            raise UsageError(
                "The stream has no outputs to make a result of",
                expected="a stream made with keep=True that has answered once at least",
            )
        outputs = {
            name: np.concatenate([np.atleast_1d(each[name]) for each in self._kept])
            for name in self._kept[0]
        }
        timeline = None if self._sound is None else self._timeline(0, self._samples)
        return self._predictor.decode(outputs, Prepared({}, timeline=timeline))

    def _windows(self, chunk: Array) -> list[Result]:
        assert self._sound is not None
        windows = self._sound.windows
        assert windows is not None
        if self._rest is None:
            self._rest = np.zeros((len(chunk), windows.before), np.float32)
        if len(chunk) != len(self._rest):
            raise UsageError(
                f"The stream had {len(self._rest)} channels and now has {len(chunk)}",
                expected="as many channels all the time",
            )
        self._rest = np.concatenate([self._rest, chunk], -1)
        whole = windows.of_padded(self._rest)
        most = len(whole) if windows.most is None else max(0, windows.most - self._done)
        self._rest = self._rest[:, len(whole) * windows.hop :]
        found = []
        for window in whole[:most]:
            first = self._done * windows.hop
            timeline = self._timeline(first, windows.hop)
            tensor = self._sound.tensor(window[None])
            found.append(self._answered(Prepared({FIRST: tensor}, timeline=timeline)))
            self._done += 1
        return found

    def _timeline(self, first: int, samples: int) -> Timeline:
        assert self._sound is not None
        assert self._sound.windows is not None
        return Timeline(self._sound.waveform.rate, samples, self._sound.windows.hop, first)

    def _answered(self, prepared: Prepared) -> Result:
        outputs = self._predictor.carry(prepared, self._state)
        if self._keep:
            self._kept.append(outputs)
        return self._predictor.decode(outputs, prepared)

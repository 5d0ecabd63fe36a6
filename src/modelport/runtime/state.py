"""What a model remembers from one call to the next, kept outside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy

import numpy as np
from pydantic import PositiveInt

from modelport.errors import UsageError
from modelport.runtime.tasks.base import Parameters
from modelport.types import Array, Feeds, Outputs, Signature, TensorSpec

Run = Callable[[Feeds], Outputs]


class StateParameters(Parameters):
    """Parameters of a task whose model may have a state.

    Attributes:
        state: from an output to the input that it feeds in the next call.
        initial: from such an input to the number that fills it before the first call; 0 where it is not
            named.
        constants: from an input to the number that fills it in every call, such as a rate.
        windows_per_call: windows of a recording that a call takes in order, for models with a state whose
            first axis is time.
    """

    state: dict[str, str] = {}
    initial: dict[str, float] = {}
    constants: dict[str, float] = {}
    windows_per_call: PositiveInt = 1


class State:
    """Feeds inputs from the outputs of the call before.

    Args:
        parameters: which; of any task, for only `StateParameters` declare some.
        signature: of the model.

    Raises:
        UsageError: where they name an input or output that the model lacks, or that does not fit.
    """

    def __init__(self, parameters: Parameters, signature: Signature) -> None:
        declared = parameters if isinstance(parameters, StateParameters) else StateParameters()
        self.is_empty = not declared.state
        self.windows = declared.windows_per_call
        self._pairs = declared.state
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._check(declared, {spec.name for spec in signature.outputs})
        self._constants = {
            name: _filled(self._inputs[name], number) for name, number in declared.constants.items()
        }
        self._initial = {
            name: _filled(self._inputs[name], declared.initial.get(name, 0.0))
            for name in declared.state.values()
        }
        self._values: dict[str, Array] = {}
        self.reset()

    def fresh(self) -> State:
        """Another one, for another recording."""
        other = copy(self)
        other.reset()
        return other

    @property
    def first_feeds(self) -> dict[str, Array]:
        """What those inputs take in the first call."""
        return {**self._constants, **self._initial}

    @property
    def names(self) -> set[str]:
        """Inputs that it feeds."""
        return {*self._constants, *self._initial}

    def reset(self) -> None:
        """Forgets: the next call is a first one."""
        self._values = dict(self._initial)

    def run(self, run: Run, feeds: Feeds) -> Outputs:
        """One call; what the caller feeds itself goes before. Gives the outputs that are no state."""
        outputs = run({**self._constants, **self._values, **feeds})
        self._values = {name: outputs[output] for output, name in self._pairs.items()}
        return {name: array for name, array in outputs.items() if name not in self._pairs}

    def _check(self, declared: StateParameters, outputs: set[str]) -> None:
        inputs = [*declared.state.values(), *declared.constants]
        surplus = [name for name in declared.initial if name not in declared.state.values()]
        for kind, names, known in (
            ("output", list(declared.state), outputs),
            ("input", inputs, set(self._inputs)),
            ("state", surplus, set(declared.state.values())),
        ):
            wrong = [name for name in names if name not in known]
            if wrong:
                raise UsageError(
                    f"The parameters of the task name the {kind} {wrong[0]!r}, which is not there",
                    expected=f"one of {', '.join(sorted(known)) or 'none'}",
                )
        if len(set(inputs)) != len(inputs):
            raise UsageError(
                "The parameters state and constants feed one input twice",
                expected="each input once",
            )


def _filled(spec: TensorSpec, number: float) -> Array:
    return np.full(spec.smallest(), number, spec.dtype)


def over_windows(run: Run, feeds: Feeds, most: int, spec: TensorSpec) -> Outputs:
    """Runs all windows of a recording, in order, and joins the outputs along the first axis.

    Args:
        feeds: of all windows: each array's first axis is these.
        most: windows to a call.
        spec: of the first input; where it takes more windows than are left, the last one is repeated.
    """
    parts: dict[str, list[Array]] = {}
    for count, some in _parts(feeds, most, spec):
        for name, array in run(some).items():
            parts.setdefault(name, []).append(np.atleast_1d(array)[:count])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _parts(feeds: Feeds, most: int, spec: TensorSpec) -> Iterator[tuple[int, Mapping[str, Array]]]:
    from modelport.feeds import fill_batch

    total = len(next(iter(feeds.values())))
    for first in range(0, total, most):
        some = {name: array[first : first + most] for name, array in feeds.items()}
        count = min(most, total - first)
        yield count, {name: fill_batch(array, spec) for name, array in some.items()}

"""Every error that modelport raises on purpose.

    ModelportError
    ├── UsageError              an option or argument that cannot be meant
    │   └── UnknownNameError    a name that no registry holds
    ├── SourceError             what goes in: a module reference, a file, weights
    │   ├── WeightsError        weights that do not fit the module
    │   └── ExportError         a module that cannot become a graph
    ├── DataError               a picture or an array file that cannot be used
    ├── FeedsError              a tensor that does not fit the signature
    ├── GraphError              a graph that breaks a rule of ONNX or of ours
    ├── EngineError             an engine that fails while compiling or running
    │   └── EngineUnavailableError   an engine this machine cannot use
    ├── QuantizationError       a scheme that cannot be applied
    ├── BudgetError             no variant is close enough to the source
    ├── VerificationError       outputs that differ from the source
    └── BundleError             a bundle that cannot be opened
        ├── BundleFormatError   not a bundle, or one of another version
        └── ChecksumError       a file that is not the one that was written

Each message says what was seen, what was expected and what to try, in one paragraph.
The command line prints it and leaves with status 2; `--debug` adds the traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class ModelportError(Exception):
    """Base of all errors meant for the user.

    Args:
        seen: what was found, as a clause without a full stop.
        expected: what would have been right, read after "Expected".
        hint: what to do, a sentence in the imperative.
        module_path: dotted path of the `nn.Module` concerned, where one is known.
    """

    def __init__(
        self,
        seen: str,
        *,
        expected: str | None = None,
        hint: str | None = None,
        module_path: str | None = None,
    ) -> None:
        self.seen = seen
        self.expected = expected
        self.hint = hint
        self.module_path = module_path
        super().__init__(seen)

    def __str__(self) -> str:
        where = f"In module {self.module_path}: " if self.module_path else ""
        parts = [f"{where}{self.seen.rstrip('.')}."]
        if self.expected:
            parts.append(f"Expected {self.expected.rstrip('.')}.")
        if self.hint:
            parts.append(f"{self.hint.rstrip('.')}.")
        return " ".join(parts)


class UsageError(ModelportError):
    """An option or argument that cannot be meant."""


class UnknownNameError(UsageError):
    """A name that no registry holds."""


class SourceError(ModelportError):
    """The model that goes in cannot be found, read or built."""


class WeightsError(SourceError):
    """Weights do not fit the module they are loaded into."""


class ExportError(SourceError):
    """A module cannot be turned into a graph."""


class DataError(ModelportError):
    """A picture or array file cannot be used."""


class FeedsError(ModelportError):
    """A tensor does not fit the signature."""


class GraphError(ModelportError):
    """A graph breaks a rule of ONNX, or one of ours."""


class EngineError(ModelportError):
    """An engine failed while compiling or running.

    Args:
        operators: those of ONNX that it refused, by name; `compile` then says where they are.
    """

    def __init__(
        self,
        seen: str,
        *,
        expected: str | None = None,
        hint: str | None = None,
        module_path: str | None = None,
        operators: Sequence[str] = (),
    ) -> None:
        super().__init__(seen, expected=expected, hint=hint, module_path=module_path)
        self.operators = tuple(operators)


class EngineUnavailableError(EngineError):
    """An engine, or one of its precisions, cannot be used on this machine."""


class QuantizationError(ModelportError):
    """A quantization scheme cannot be applied."""


class BudgetError(ModelportError):
    """No variant stays within the fidelity budget."""


class VerificationError(ModelportError):
    """Outputs differ from those of the source model."""


class BundleError(ModelportError):
    """A bundle cannot be opened or written."""


class BundleFormatError(BundleError):
    """Not a bundle, or one of a version this modelport does not read."""


class ChecksumError(BundleError):
    """A file of a bundle is not the one that was written."""

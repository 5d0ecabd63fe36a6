"""What stands in the place of a result where one input could not be answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelport.errors import ModelportError
from modelport.runtime.tasks.base import Result


@dataclass(frozen=True)
class Failed(Result):
    """No result, and why.

    Attributes:
        error: what was raised: a `DataError` for a picture that cannot be read, say.
    """

    error: Exception

    @property
    def reason(self) -> str:
        """The error on one line; an exception that is not ours keeps the name of its class."""
        words = " ".join(str(self.error).split())
        ours = isinstance(self.error, ModelportError)
        return words if ours else f"{type(self.error).__name__}: {words}".removesuffix(": ")

    def to_json(self) -> dict[str, Any]:
        return {"error": self.reason}

"""What the translation of a component is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Fields, Folder
from modelport.types import Signature


@dataclass(frozen=True)
class Component:
    """Attributes:
    module: the codebase, such as `mmdet`.
    name: of the component, such as `ResizeBBox`.
    fields: its parameters.
    """

    module: str
    name: str
    fields: Fields


@dataclass(frozen=True)
class Found:
    """Attributes:
    has_labels: whether results name classes.
    """

    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    has_labels: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a translation may look at."""

    component: Component
    signature: Signature
    folder: Folder
    colour: str

    @property
    def fields(self) -> Fields:
        return self.component.fields

    def output(self, name: str) -> str:
        """The output of that name.

        Raises:
            BundleFormatError: where the network has none.
        """
        names = [spec.name for spec in self.signature.outputs]
        if name not in names:
            raise BundleFormatError(
                f"{self.folder.path}: the network gives {', '.join(names)}",
                expected=f"an output {name!r}, which {self.component.name} takes",
            )
        return name

    def first(self, name: str) -> str:
        """The same, and the task looks at the first output alone.

        Raises:
            BundleFormatError: where another output is the first.
        """
        found = self.signature.outputs[0].name
        if self.output(name) != found:
            raise BundleFormatError(
                f"{self.folder.path}: the first output of the network is {found!r}",
                expected=f"{name!r}, which {self.component.name} takes",
            )
        return name

    def no_counterpart(self, key: str, expected: str) -> BundleFormatError:
        """For a parameter that has none."""
        return BundleFormatError(
            f"{self.fields.where}: {key} of {self.component.name} is {self.fields.raw(key)!r:.60}, "
            "which has no counterpart in modelport",
            expected=expected,
        )

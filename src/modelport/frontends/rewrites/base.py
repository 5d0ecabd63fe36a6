"""The contract of a rewrite: what is replaced while exporting, where, and by what.

A rewrite has one of three kinds. A `FunctionRewrite` replaces a function wherever it is bound, a
`ModuleRewrite` the instances of a class in the tree of modules, and an `OperatorRewrite` the way an
operator is written as ONNX. `applied` puts them in place and takes them away again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from modelport.frontends.options import EXPORTERS, TORCH_EXPORT, TORCHSCRIPT

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "EXPORTERS",
    "TORCHSCRIPT",
    "TORCH_EXPORT",
    "FunctionRewrite",
    "ModuleRewrite",
    "OperatorRewrite",
    "Rewrite",
]


class Rewrite(ABC):
    """What all rewrites have.

    Attributes:
        name: how listings and errors call it.
        summary: what it does, one line without a full stop.
        needed_by: a model or construct that fails or is wrong without it.
        target: what is replaced, as a dotted name (`torch.nn.functional.pad`) or, for an operator, as
            `namespace::operator`, with the overload where only that is meant (`aten::roll.default`).
        engine: the engine that it is for; None for all.
        package: the requirement that must be met, `timm>=1.0,<2` say; None where any version will do.
        exporters: those that it is for, of `EXPORTERS`.
        graph_only: whether it writes operators of ONNX, which programs that engines take straight from
            torch.export cannot hold: these are captured without it.
    """

    kind: ClassVar[str]
    name: str
    summary: str = ""
    needed_by: str = ""
    target: str
    engine: str | None = None
    package: str | None = None
    exporters: tuple[str, ...] = EXPORTERS
    graph_only: bool = False

    @property
    def scope(self) -> str:
        """Where it is used, for people: the engine, the requirement, both, or everywhere."""
        return ", ".join(part for part in (self.engine, self.package) if part) or "everywhere"


class FunctionRewrite(Rewrite):
    """Replaces a function, or a method of a class (`torch.Tensor.unfold`), by another.

    Modules that took it with `from package import function` see the replacement too. A function of
    `builtins` is replaced only in the files that the classes of the model come from, torch's left out.
    """

    kind = "function"

    @abstractmethod
    def replace(self, original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Called in place of `original`, with its arguments.

        Returns `NotImplemented` for arguments that the original does well with; it is then called.
        """


class ModuleRewrite(Rewrite):
    """Replaces the instances of a class in the tree of modules.

    Instances of a subclass are replaced too while it has the same `forward`. A module with hooks of its
    own is left as it is, since they would be lost.
    """

    kind = "module"

    @abstractmethod
    def replace(self, module: nn.Module) -> nn.Module:
        """The module that stands in its place while exporting, on the same path.

        It shares the parameters of `module`, and copies none; `module` itself must stay as it is, and
        is returned where there is nothing to replace.
        """


class OperatorRewrite(Rewrite):
    """Replaces how an operator is written as ONNX; overrides one method or more."""

    kind = "operator"
    exporters: tuple[str, ...] = (TORCH_EXPORT,)
    inside: tuple[str, ...] = ()
    """Operators that must be broken up for a decomposition to meet its target."""

    def translation(self) -> Callable[..., Any] | None:
        """A plain function of onnxscript's operators, with the operator's own parameters.

        It becomes the entry of `custom_translation_table` for each overload of the target. The
        operator is looked for after torch has broken up what it has no translation for.
        """
        return None

    def decomposition(self) -> Callable[..., Any] | None:
        """A function of torch operators with the operator's own parameters.

        The operator is looked for in the graph as `torch.export.export` leaves it. The function
        returns `NotImplemented` for arguments that need nothing.
        """
        return None

    def concerns(self, *args: Any, **kwargs: Any) -> bool:
        """Whether a decomposition has something to do, from the arguments at one place in the graph.

        Tensors and free sizes are torch's symbolic ones. Where it says no everywhere, the program is
        left alone.
        """
        return True

    def symbolic(self, g: Any, *args: Any) -> Any:
        """Writes the operator for the TorchScript-based exporter; see
        `torch.onnx.register_custom_op_symbolic`."""
        raise NotImplementedError

    def functions(self) -> Sequence[ir.Function]:
        """Functions that say what nodes of domains of its own mean; the graph carries those it calls.

        An engine that has no kernel for such a node runs the function instead.
        """
        return ()

    @property
    def has_symbolic(self) -> bool:
        return type(self).symbolic is not OperatorRewrite.symbolic

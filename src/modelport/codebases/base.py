"""The contract of a codebase: from the name of a model to a `Source` with all that belongs to it.

A library is imported when a model of it is built or its models are listed, never before.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from modelport.codebases.installed import is_installed
from modelport.errors import ModelportError, SourceError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from modelport.frontends.source import Source


class Codebase(ABC):
    """A library of models. A subclass sets the class attributes and writes `names` and `_build`."""

    name: ClassVar[str]
    """As in `timm:resnet18`, and the module to import."""
    package: ClassVar[str]
    """Distribution to install."""
    extra: ClassVar[str] = "codebases"
    """The extra of modelport that installs it."""
    summary: ClassVar[str]
    example: ClassVar[str]
    """A model of it, as a user writes it."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that it cannot be imported without, besides its own."""

    def available(self) -> str | None:
        """Why models of it cannot be built here, or None where they can."""
        for module in (self.name, "torch", *self.needs):
            if not is_installed(module):
                package = self.package if module == self.name else module
                return f'{package} is not installed: pip install "modelport[{self.extra}]"'
        return None

    @abstractmethod
    def names(self) -> list[str]:
        """Models that it can build, under the library's own names; empty where they are folders.

        Raises:
            SourceError: where the library cannot be used here.
        """

    def build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        """Builds a model.

        Args:
            name: the library's own name for it.
            options: arguments for the library's builder.
            pretrained: whether with the library's own weights, which it may have to download.

        Raises:
            UnknownNameError: where the library has no such model; offers the nearest name.
            UsageError: where an option is not one of the model's.
            SourceError: where the library cannot build the model or get its weights.
        """
        self.library()
        self._check_name(name)
        try:
            with quiet():
                return self._build(name, options, pretrained)
        except ModelportError:
            raise
        except Exception as error:
            if pretrained and self._is_sound(name, options):
                raise self._without_weights(name, error) from error
            raise self._explained(name, error) from error

    @abstractmethod
    def _build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        """As `build`, for a name that was checked; may raise whatever the library raises."""

    def library(self) -> Any:
        """The library, imported.

        Raises:
            SourceError: where it is not installed, or cannot be imported.
        """
        reason = self.available()
        if reason is not None:
            raise SourceError(
                f"Models of {self.name} cannot be built here",
                expected=f"the package {self.package}",
                hint=reason[0].upper() + reason[1:],
            )
        try:
            with quiet():
                from modelport.codebases.torchvision_operators import import_torchvision

                import_torchvision()
                return importlib.import_module(self.name)
        except Exception as error:  # a package that does not fit another may raise anything
            raise SourceError(
                f"{self.name} cannot be imported: {said(error)}",
                hint="Check that its version fits that of torch",
            ) from error

    def with_random_note(self, source: Source, text: str) -> Source:
        """The source with a word on its weights, for a user who asked for random ones."""
        note = f"{text} has random weights: its results mean nothing until --weights loads others"
        return replace(source, notes=(*source.notes, note))

    def _check_name(self, name: str) -> None:
        known = self.names()
        if name not in known:
            raise self._unknown(name, known)

    def _unknown(self, name: str, known: Sequence[str]) -> UnknownNameError:
        near = difflib.get_close_matches(name, known, n=1)
        few = len(known) <= 20
        return UnknownNameError(
            f"{self.name} has no model named {name!r}",
            expected=f"one of {', '.join(known)}" if few else f"one of its {len(known)} models",
            hint=f"Perhaps you meant {near[0]!r}" if near else None,
        )

    def _is_sound(self, name: str, options: Mapping[str, Any]) -> bool:
        """Whether the model can be built without its weights, so that they alone are to blame."""
        try:
            self._build(name, options, pretrained=False)
        except Exception:
            return False
        return True

    def _without_weights(self, name: str, error: Exception) -> SourceError:
        step = "downloaded" if _is_of_a_network(error) else "loaded"
        return SourceError(
            f"The weights of {name} could not be {step}: {said(error)}",
            hint=f"Pass --weights FILE if you have them, or write {self.name}:{name}"
            "?pretrained=false for random weights",
        )

    def _explained(self, name: str, error: Exception) -> ModelportError:
        surplus = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if isinstance(error, TypeError) and surplus:
            return self.unknown_option(name, surplus[1])
        return SourceError(
            f"{self.name} cannot build {name}: {type(error).__name__}: {said(error)}",
            hint="Check the options after '?'",
        )

    def unknown_option(
        self, name: str, option: str, known: Sequence[str] | None = None
    ) -> UsageError:
        near = difflib.get_close_matches(option, known or (), n=1)
        return UsageError(
            f"The model {name} of {self.name} has no option {option!r}",
            expected="an argument that the library's own builder takes",
            hint=f"Perhaps you meant {near[0]!r}" if near else None,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps a library's remarks on its own code, such as deprecations, away from our user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def said(error: BaseException, limit: int = 240) -> str:
    """The message of a foreign exception on one line, without its full stop."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}…"


def first_parameter(module: Any) -> str:
    """Name of what `forward` takes first."""
    return next(iter(inspect.signature(module.forward).parameters))


def pixels(name: str, channels: int, size: tuple[int, int]) -> str:
    """Specification of one picture of that height and width."""
    return f"{name}=1x{channels}x{size[0]}x{size[1]}"


def _is_of_a_network(error: BaseException) -> bool:
    """Failed downloads are an OSError, but for those of the libraries' own HTTP clients."""
    foreign = type(error).__module__.split(".")[0] in ("httpx", "huggingface_hub", "requests")
    return isinstance(error, OSError) or foreign

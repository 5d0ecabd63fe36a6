"""How a model of a codebase is written: `CODEBASE:MODEL?OPTION=VALUE&OPTION=VALUE`.

Values are Python or JSON literals where they can be read as such, else text: `classes=3`,
`features_only=true`, `out_indices=[1,2]`, `encoder_name=resnet18`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from modelport.errors import UsageError

_CODEBASE = re.compile(r"[A-Za-z_][\w-]+:(?!//)")
"""At least two letters, so that no drive of Windows is taken for one; nor is an address of the web."""


@dataclass(frozen=True)
class Spelling:
    """Attributes:
    codebase: name of the codebase, which may not exist.
    model: the library's own name for the model, or a folder.
    options: what the library's builder is called with.
    """

    codebase: str
    model: str
    options: Mapping[str, Any]

    def flag(self, value: Any, option: str) -> bool:
        """The value of an option that is either true or false."""
        if isinstance(value, bool):
            return value
        raise UsageError(
            f"The option {option!r} of {self.codebase}:{self.model} is {value!r}",
            expected="true or false",
        )


def has_spelling(text: str) -> bool:
    return _CODEBASE.match(text) is not None


def read_spelling(text: str) -> Spelling:
    """Takes the text apart.

    Raises:
        UsageError: where there is no model, or an option has no name, no value, or two values.
    """
    codebase, _, rest = text.partition(":")
    model, asked, query = rest.partition("?")
    if not model:
        raise UsageError(
            f"{text!r} names no model",
            expected="CODEBASE:MODEL",
            hint=f"Write for example {codebase}:NAME",
        )
    options: dict[str, Any] = {}
    for part in query.split("&") if asked else ():
        name, equals, value = part.partition("=")
        if not name.isidentifier() or not equals or name in options:
            raise UsageError(
                f"The option {part!r} of {codebase}:{model} cannot be read",
                expected="NAME=VALUE, each name once, joined by '&'",
                hint=f"Write for example {codebase}:{model}?num_classes=10, within quotes in a shell",
            )
        options[name] = read_value(unquote(value))
    return Spelling(codebase, model, options)


def read_value(text: str) -> Any:
    """A Python or JSON literal, or else the text."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text

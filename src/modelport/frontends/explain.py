"""Turns an exporter's exception into the one line of the user's model that stops it."""

from __future__ import annotations

import logging
import re
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from modelport.errors import ExportError, ModelportError
from modelport.frontends.adapter import unprefixed
from modelport.graph import provenance

_HINTS = (
    (
        ("numpy", "__array__"),
        "Use torch operations where this line goes through numpy",
    ),
    (
        ("data-dependent", "GuardOnDataDependent", "Could not guard"),
        "A branch or a size here depends on the values of a tensor: use torch.where for a choice "
        "of values, torch.cond for a choice of computations, or --branches join to export both "
        "ways",
    ),
    (
        ("Constraints violated", "specialized", "not in range"),
        "The code fixes a size that the inputs leave free: make it a plain number in --input, or "
        "compute it from x.shape",
    ),
    (
        ("ONNX decomposition", "No ONNX function", "No decompositions", "ONNX function",
         "Exporting the operator", "UnsupportedOperator"),
        "This operator has no translation to ONNX: compose it of standard operators, or give it "
        "one; see the guide on new operators",
    ),
)  # fmt: skip
_LAST_HINT = "Rewrite that line with tensor operations whose sizes do not depend on values"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's remarks, and its dumps of half-traced graphs, off the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def explaining(module: nn.Module) -> Iterator[None]:
    """Lets an exporter's exceptions out as what `explained` makes of them."""
    try:
        yield
    except ModelportError:
        raise
    except Exception as error:
        raise explained(error, module) from error


def explained(error: Exception, module: nn.Module) -> ModelportError:
    """The error of an export, with the user's line, the module's path and what to try."""
    for link in _chain(error):
        if isinstance(link, ModelportError):
            return link
    place, path = place_of(error, module)
    chain = " ".join(repr(link) for link in _chain(error))
    hint = next(
        (advice for words, advice in _HINTS if any(word in chain for word in words)), _LAST_HINT
    )
    where = f"stops at {place}" if place else "fails"
    return ExportError(
        f"The export {where}: {type(error).__name__}: {first_sentence(error)}",
        hint=_suggested_sizes(chain) or hint,
        module_path=path,
    )


_SUGGESTION = re.compile(r"Suggested fixes:(?P<lines>(?:\\n|\s)+.*)", re.DOTALL)
_MULTIPLE = re.compile(r"(?P<name>\w+) = (?P<step>\d+)\*_(?P=name)")
_FIXED = re.compile(r"(?P<name>\w+) = (?P<size>\d+)\b(?!\*)")
_EQUAL = re.compile(r"(?P<name>\w+) = (?P<other>(?!Dim\b)[A-Za-z]\w*)\b(?![(\[.])")
_BOUND = re.compile(r"(?P<name>\w+) = Dim\('\w+',(?P<bounds>[^)]*)\)")


def _suggested_sizes(text: str) -> str | None:
    """What torch found out of the sizes, in the words of --input."""
    match = _SUGGESTION.search(text)
    if match is None:
        return None
    lines = match["lines"].replace("\\n", "\n")
    found = [
        f"{m['name']} must be a multiple of {m['step']} (write a..b/{m['step']})"
        for m in _MULTIPLE.finditer(lines)
    ]
    found += [f"{m['name']} must be {m['size']}" for m in _FIXED.finditer(lines)]
    found += [
        f"{m['name']} must equal {m['other']} (give both one name, as in n[1..8])"
        for m in _EQUAL.finditer(lines)
    ]
    found += [
        f"{m['name']} must have{m['bounds'].replace('=', ' ').replace(',', ' and')}"
        for m in _BOUND.finditer(lines)
    ]
    if not found:
        return None
    return f"The code allows less than the inputs do: {'; '.join(dict.fromkeys(found))}"


_SUMMARY = re.compile(
    r"## Exception summary\s+<class '[^']*'>: (?P<reason>.*?)(?:\n⬆️|\n⬇️|\n\n\(Refer|\Z)", re.DOTALL
)


def first_sentence(error: BaseException) -> str:
    found = _SUMMARY.search(str(error))  # torch's exporter wraps the reason in pages of advice
    text = " ".join((found["reason"] if found else str(error)).split()) or "no message"
    return re.split(r"(?<=[a-z)])[.!] | \(unhinted", text, maxsplit=1)[0][:240]


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def place_of(error: BaseException, module: nn.Module) -> tuple[str | None, str | None]:
    """The innermost line of the user's own code, with the path of the module that it is in."""
    for link in _chain(error):
        line, path = _own_frame(link.__traceback__, module)
        if line:
            return line, path
        told = provenance.user_line(str(link))
        if told:
            return told, None
    return None, None


def _own_frame(traceback: TracebackType | None, module: nn.Module) -> tuple[str | None, str | None]:
    """The last frame in the user's own code, else in a library other than torch, with its module."""
    paths = {id(part): path for path, part in module.named_modules()}
    own: str | None = None
    library: str | None = None
    path: str | None = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        here = f"{Path(file).name}:{traceback.tb_lineno}"
        if not is_foreign(file):
            own = here
        elif not file.startswith(_NEVER):
            library = here
        if not file.startswith(_NEVER):
            path = paths.get(id(traceback.tb_frame.f_locals.get("self")), path)
        traceback = traceback.tb_next
    return own or library, unprefixed(path) or None if path else None


def is_foreign(file: str) -> bool:
    """Whether a file is not the user's: generated code, modelport, Python, an installed library."""
    return file.startswith(_NEVER) or "site-packages" in file


_NEVER = (
    "<",
    str(Path(__file__).parents[1]),
    sysconfig.get_paths()["stdlib"],
    str(Path(torch.__file__).parent),
)
"""Beginnings of file names that no user means: generated code, modelport, Python itself, torch."""

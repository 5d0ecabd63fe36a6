"""Reads what trtexec says when it fails: lines of `[E]`, among which few say anything."""

from __future__ import annotations

import re

MOST = 3

_ERROR = re.compile(r"\[[EF]\]\s*(?:\[TRT\]\s*)?(?P<text>.*\S)")

_PLACE = re.compile(r'While parsing node number \d+ \[(?P<operator>[\w.:]+) -> "(?P<output>.*?)"')
_NODE = re.compile(r"with name: (?P<name>.*?) and operator: (?P<operator>[\w.:]+)")
_NAME = re.compile(r"^(?:Node )?name: \"?(?P<name>[^\"\s]+)\"?", re.MULTILINE)

_EMPTY = re.compile(
    r"--- (Begin|End) node|Failed to parse onnx|Parsing model failed|Engine (creation|set up) failed"
    r"|Engine could not be created|Building engine failed|Failed to create engine|Uncategorized"
    r"|While parsing node|Node name:|^(input|output|name|op_type|attribute|domain|doc_string)\b"
    r"|Network (validation )?failed|model could not be parsed",
    re.IGNORECASE,
)
"""Lines that frame an error, or follow from it."""


def errors_in(log: str) -> str | None:
    """The operator and the node where one is to blame, and the reasons; None where there is no error."""
    lines = [match["text"] for match in map(_ERROR.search, log.splitlines()) if match]
    reasons = [_plain(line) for line in lines if not _EMPTY.search(line)]
    place = _place(log)
    found = [place] if place else []
    found += [reason for reason in dict.fromkeys(reasons) if reason][:MOST]
    return ": ".join([*found[:1], " | ".join(found[1:])]).rstrip(": ") if found else None


def _plain(line: str) -> str:
    """Without the file and number of TensorRT's own source, which change with every version."""
    line = re.sub(r"^\w+\.(cpp|h):\d+:\s*", "", line)
    line = re.sub(r"^ERROR: \w+\.cpp:\d+ In function \w+:\s*", "", line)
    return " ".join(line.split())


def _place(log: str) -> str | None:
    node = _NODE.search(log)
    if node is not None:
        return f"{node['operator']} (node {node['name']!r})"
    place = _PLACE.search(log)
    if place is None:
        return None
    named = _NAME.search(log, place.end())
    where = f"node {named['name']!r}" if named else f"that gives {place['output']!r}"
    return f"{place['operator']} ({where})"

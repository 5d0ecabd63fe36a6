"""Reads the project's documents: headings, links and code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

_COMMENT = re.compile(r"<!--\s*(?P<word>\w+):\s*(?P<text>.*?)\s*-->")
_FILE = re.compile(r"# (?P<path>[\w/]+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: the word after the fence.
        skip: why tests do not run it, from a comment `<!-- skip: reason -->` right before it.
        line: number of the fence, for messages.
    """

    language: str
    code: str
    skip: str | None
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block shows, from a first line such as `# model.py`."""
        match = _FILE.match(self.code)
        return match["path"] if match and self.language == "python" else None


def blocks(document: Path) -> list[Block]:
    return list(_blocks(document.read_text(encoding="utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    start, skip = None, None
    for number, line in enumerate(lines, start=1):
        if start is None and line.startswith("```"):
            start = number
        elif start is not None and line == "```":
            code = "\n".join(lines[start : number - 1]) + "\n"
            yield Block(lines[start - 1].removeprefix("```").strip(), code, skip, start)
            start, skip = None, None
        elif start is None and line.strip():
            comment = _COMMENT.fullmatch(line.strip())
            skip = comment["text"] if comment and comment["word"] == "skip" else None


def given(document: Path) -> list[str]:
    """What the document takes for granted, from a comment `<!-- given: build/fruit -->`."""
    found = (_COMMENT.fullmatch(line.strip()) for line in prose(document))
    return [
        name.strip()
        for match in found
        if match and match["word"] == "given"
        for name in match["text"].split(",")
    ]


def prose(document: Path) -> list[str]:
    """The lines outside code blocks."""
    lines, inside = [], False
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines


def headings(document: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    found = (re.match(r"(#+) (.+)", line) for line in prose(document))
    return [(len(match[1]), match[2]) for match in found if match]


def anchors(document: Path) -> set[str]:
    """What a link may name after `#`."""
    plain = (re.sub(r"[^\w\s-]", "", text.lower()) for _, text in headings(document))
    return {text.strip().replace(" ", "-") for text in plain}


def links(document: Path) -> list[str]:
    """Targets of the links outside code."""
    text = re.sub(r"`[^`]*`", "", "\n".join(prose(document)))
    return re.findall(r"\]\(([^)\s]+)\)", text)

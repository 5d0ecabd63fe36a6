"""What the report shows beside the manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportCase:
    """One sample of the user's data: what the source said and what the chosen variant says.

    Attributes:
        picture: a small JPEG or PNG for the page, or None where the sample was no picture.
        source, chosen: the results in words, `tabby cat 0.87` say.
        agrees: whether both give the same answer.
        golden: whether the bundle keeps it as a golden case.
    """

    name: str
    picture: bytes | None
    source: str
    chosen: str
    agrees: bool
    golden: bool

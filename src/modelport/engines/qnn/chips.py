"""Chips with an HTP: Qualcomm's number of the chip, and the architecture of its HTP."""

from __future__ import annotations

from dataclasses import dataclass

from modelport.errors import UsageError

DEFAULT = "sm8650"

FIRST_WITH_FLOATS = 69


@dataclass(frozen=True)
class Chip:
    """Attributes:
    number: what QNN calls the SoC model.
    htp: generation of the HTP, 75 for V75.
    """

    name: str
    number: int
    htp: int

    @property
    def has_floats(self) -> bool:
        return self.htp >= FIRST_WITH_FLOATS


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("sm8350", 30, 68),
        Chip("sa8295", 39, 68),
        Chip("sm8450", 36, 69),
        Chip("sm8475", 42, 69),
        Chip("sm8550", 43, 73),
        Chip("sc8380xp", 60, 73),
        Chip("sm8650", 57, 75),
        Chip("sm8750", 69, 79),
        Chip("sm8850", 87, 81),
    )
}


def chip_of(device: str) -> Chip:
    """The chip of that name; `cpu`, where nobody named one, and `npu` are the default.

    Raises:
        UsageError: for a name that is not known.
    """
    name = device.strip().lower()
    if name in ("", "cpu", "npu", "htp"):
        name = DEFAULT
    if name not in CHIPS:
        raise UsageError(
            f"There is no Snapdragon chip {device!r}", expected=f"one of {', '.join(CHIPS)}"
        )
    return CHIPS[name]

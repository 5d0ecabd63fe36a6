"""Leaves the last refinements of a progressive JPEG out, where a draft is enough.

A progressive JPEG sends coefficients in scans: first their high bits, then scan by scan the next bit
(ITU-T T.81, annex G). The scans that bring the last bit of the AC coefficients are the largest and
slowest to decode, and change a picture by little more than its quantization did.
"""

from __future__ import annotations

_EOI, _SOS, _PROGRESSIVE = 0xD9, 0xDA, 0xC2
_RESTARTS = range(0xD0, 0xD8)


def without_last_bits(data: bytes) -> bytes:
    """The file less the scans that refine AC coefficients by their last bit.

    Anything that is no whole progressive JPEG comes back as it is, for the decoder to judge.
    """
    if data[:2] != b"\xff\xd8":
        return data
    cuts, progressive, position = [], False, 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _EOI:
        marker = data[position + 1]
        body = position + 4
        end = position + 2 + int.from_bytes(data[position + 2 : body], "big")
        if marker == _SOS:
            refines = _is_last_refinement(data[body:end])
            end = _end_of_scan(data, end)
            if refines:
                cuts.append((position, end))
        progressive |= marker == _PROGRESSIVE
        position = end
    whole = data[position : position + 2] == b"\xff\xd9"
    return _cut(data, cuts) if whole and progressive else data


def _is_last_refinement(header: bytes) -> bool:
    """Whether a scan header ends in: from an AC coefficient, from bit 1 to bit 0."""
    return len(header) >= 4 and header[-2] > 0 and header[-1] == 0x10


def _end_of_scan(data: bytes, position: int) -> int:
    """Where the next marker begins; stuffed zeros and restart markers belong to the scan."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        if data[position + 1] != 0 and data[position + 1] not in _RESTARTS:
            return position
        position += 2


def _cut(data: bytes, cuts: list[tuple[int, int]]) -> bytes:
    kept, position = [], 0
    for start, end in cuts:
        kept.append(data[position:start])
        position = end
    return b"".join([*kept, data[position:]])

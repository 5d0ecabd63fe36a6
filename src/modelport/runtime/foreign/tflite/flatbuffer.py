"""FlatBuffers, read without their library and without a schema compiler.

A table begins with the signed distance back to its vtable, which has for each field of the schema the
distance from the table to its value, or 0 where the field is absent. Tables, texts and vectors stand
elsewhere, behind an unsigned distance forward. All numbers are little-endian
(https://flatbuffers.dev/internals, "FlatBuffers Binary Format").

Whoever wrote the file chose all of these distances, so each one is compared with the end of the buffer
before it is followed, and the number of fields that may be looked at is limited.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MOST_FIELDS = 1_000_000
"""Fields and elements looked at; the interface of a network and its metadata have some hundred."""

_OFFSET, _BACK, _SHORT = "<I", "<i", "<H"
_HEAD = 4
"""Bytes of a vtable before its first field: its own size and that of the table."""


class NotFlatError(ValueError):
    """The bytes are no such buffer."""


class Flatbuffer:
    """The bytes of one buffer.

    Args:
        data: all of it; what follows the buffer, such as a zip archive, may be part of it.
    """

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._left = MOST_FIELDS

    def root(self, identifier: bytes) -> Table:
        """The outermost table, of a buffer that has these four bytes behind its first offset.

        Raises:
            NotFlatError: where it has others.
        """
        found = bytes(self.data[4:8])
        if found != identifier:
            raise NotFlatError(
                f"bytes 4 to 7 are {found!r}, and {identifier.decode()} belongs there"
                if len(found) == 4
                else "it is too short"
            )
        return Table(self, self.follow(0))

    def number(self, place: int, form: str) -> int | float:
        """One number in the words of the module `struct`."""
        self._left -= 1
        if self._left < 0:
            raise NotFlatError("it has too many fields")
        self.part(place, struct.calcsize(form))
        found: int | float = struct.unpack_from(form, self.data, place)[0]
        return found

    def whole(self, place: int, form: str) -> int:
        return int(self.number(place, form))

    def follow(self, place: int) -> int:
        """Where the offset at that place leads to."""
        return place + self.whole(place, _OFFSET)

    def part(self, place: int, length: int) -> memoryview:
        """So many bytes from that place on."""
        if place < 0 or length < 0 or place + length > len(self.data):
            raise NotFlatError(
                f"it has {len(self.data)} bytes, and leads to bytes {place} to {place + length}"
            )
        return self.data[place : place + length]

    def vector(self, place: int, size: int) -> tuple[int, int]:
        """Where the elements of the vector at that place begin, and how many there are.

        Args:
            size: bytes of an element.
        """
        count = self.whole(place, _OFFSET)
        self.part(place + 4, count * size)
        return place + 4, count


class Table:
    """One table; fields are told by their number in the schema, counted from 0.

    A union takes two fields: its type, and a table.
    """

    def __init__(self, buffer: Flatbuffer, place: int) -> None:
        self._buffer, self._place = buffer, place
        self._fields = place - buffer.whole(place, _BACK)
        size = buffer.whole(self._fields, _SHORT)
        if size < _HEAD or size % 2:
            raise NotFlatError(f"a table has a vtable of {size} bytes")
        buffer.part(self._fields, size)
        self._count = (size - _HEAD) // 2

    def number(self, field: int, form: str, default: int | float = 0) -> int | float:
        place = self._field(field)
        return default if place is None else self._buffer.number(place, form)

    def whole(self, field: int, form: str, default: int = 0) -> int:
        return int(self.number(field, form, default))

    def table(self, field: int) -> Table | None:
        place = self._target(field)
        return None if place is None else Table(self._buffer, place)

    def text(self, field: int) -> str:
        """Empty where the field is absent."""
        return str(bytes(self.bytes(field)), "utf-8")

    def bytes(self, field: int) -> memoryview:
        """A text or a vector of bytes, not copied; empty where the field is absent."""
        place = self._target(field)
        if place is None:
            return self._buffer.data[:0]
        return self._buffer.part(*self._buffer.vector(place, 1))

    def numbers(self, field: int, form: str) -> list[int | float]:
        """Empty where the field is absent."""
        size = struct.calcsize(form)
        return [self._buffer.number(place, form) for place in self._elements(field, size)]

    def wholes(self, field: int, form: str) -> list[int]:
        return [int(number) for number in self.numbers(field, form)]

    def tables(self, field: int) -> Iterator[Table]:
        """The tables of a vector, each read when it is asked for."""
        return (
            Table(self._buffer, self._buffer.follow(place)) for place in self._elements(field, 4)
        )

    def one_of(self, field: int, index: int, what: str) -> Table:
        """One table of a vector, the others unread.

        Args:
            what: it is called in messages.
        """
        places = self._elements(field, 4)
        if not 0 <= index < len(places):
            raise NotFlatError(f"it speaks of {what} {index}, and has {len(places)}")
        return Table(self._buffer, self._buffer.follow(places[index]))

    def _field(self, number: int) -> int | None:
        if number >= self._count:
            return None
        distance = self._buffer.whole(self._fields + _HEAD + 2 * number, _SHORT)
        return self._place + distance if distance else None

    def _target(self, field: int) -> int | None:
        place = self._field(field)
        return None if place is None else self._buffer.follow(place)

    def _elements(self, field: int, size: int) -> range:
        """Where the elements of a vector stand."""
        place = self._target(field)
        if place is None:
            return range(0)
        first, count = self._buffer.vector(place, size)
        return range(first, first + count * size, size)

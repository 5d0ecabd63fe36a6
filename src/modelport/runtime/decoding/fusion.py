"""Segments from what claims the pixels of a picture: queries, or instances over a map of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from modelport.runtime.decoding.queries import Claims, Found
from modelport.types import Array


@dataclass(frozen=True)
class Piece:
    """A segment: its class and its score."""

    index: int
    score: float


def fused(
    claims: Claims, found: Found, stuff: Sequence[int], overlap: float
) -> tuple[Array, list[Piece]]:
    """The map of segments, and these in the order of their numbers from 1 on.

    A query counts where it kept more than `overlap` of the pixels that it would have alone. Queries of
    one class of stuff are one segment, with the best of their scores.
    """
    areas = claims.areas()
    numbers = np.zeros(len(areas) + 1, np.int32)  # the last is that of pixels without a query
    pieces: list[Piece] = []
    known: dict[int, int] = {}
    for query, (area, alone) in enumerate(zip(areas, claims.alone, strict=True)):
        if not area or not alone or area / alone <= overlap:
            continue
        piece = Piece(int(found.classes[query]), float(found.scores[query]))
        number = known.get(piece.index, 0)
        if number:
            best = max(pieces[number - 1].score, piece.score)
            pieces[number - 1] = Piece(piece.index, best)
        else:
            pieces.append(piece)
            number = len(pieces)
        if piece.index in stuff:
            known[piece.index] = number
        numbers[query] = number
    return numbers[claims.owner], pieces


def merged(
    things: Iterable[tuple[Array, Piece]],
    labels: Array,
    stuff: Sequence[int],
    *,
    overlap: float,
    stuff_area: int,
) -> tuple[Array, list[Piece]]:
    """Instances over a map of classes, after Panoptic Segmentation (Kirillov et al. 2019), section 7.

    Args:
        things: bool masks of height x width and their pieces, the surest first. Each gets the pixels
            that are still free, if they are at least the share `overlap` of its own.
        labels: height x width, classes; of those in `stuff`, what things left free is one segment
            each, from `stuff_area` pixels on.
    """
    whole = np.zeros(labels.shape, np.int32)
    pieces: list[Piece] = []
    for mask, piece in things:
        own = int(mask.sum())
        free = mask & (whole == 0)
        if not own or free.sum() < overlap * own:
            continue
        pieces.append(piece)
        whole[free] = len(pieces)
    for index in sorted(set(stuff)):
        rest = (labels == index) & (whole == 0)
        if rest.sum() >= max(1, stuff_area):
            pieces.append(Piece(index, 1.0))
            whole[rest] = len(pieces)
    return whole, pieces

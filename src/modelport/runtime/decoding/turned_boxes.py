"""Rectangles at an angle: their corners, what they share, and which of them are doubles."""

from __future__ import annotations

import numpy as np

from modelport.types import Array

_SLACK = 1e-9
"""Of a cross product, in square units: points on an edge are inside."""


def corners_of(boxes: Array) -> Array:
    """Corners (n, 4, 2), in order around each of (n, 5): middle x, y, length, width and angle.

    The length lies along the angle, in radians, which goes from the x axis to the y axis.
    """
    boxes = np.asarray(boxes, np.float64)
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    local = signs * boxes[:, None, 2:4]
    cos, sin = np.cos(boxes[:, 4])[:, None], np.sin(boxes[:, 4])[:, None]
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return np.stack([x, y], -1) + boxes[:, None, :2]


def shared_areas(one: Array, others: Array) -> Array:
    """The area that a rectangle (4, 2) shares with each of others (n, 4, 2).

    The corners of what two convex shapes share are corners of one inside the other, and crossings of
    their edges; in the order of their angle around their middle they are its outline.
    """
    count = len(others)
    same = np.broadcast_to(one, others.shape)
    crossings, cross = _crossings(same, others)
    points = np.concatenate([same, others, crossings], 1)
    valid = np.concatenate([_inside(same, others), _inside(others, same), cross], 1)
    weight = valid[..., None]
    total = np.maximum(valid.sum(1), 1)[:, None]
    middle = np.where(weight, points, 0).sum(1) / total
    rays = np.where(weight, points - middle[:, None], 0)
    angle = np.where(valid, np.arctan2(rays[..., 1], rays[..., 0]), np.inf)
    order = np.argsort(angle, 1)
    rays = np.take_along_axis(rays, order[..., None], 1)
    known = np.take_along_axis(valid, order, 1)
    rays = np.where(known[..., None], rays, rays[:, :1])  # the rest lies on the first corner
    after = np.roll(rays, -1, 1)
    twice = (rays[..., 0] * after[..., 1] - rays[..., 1] * after[..., 0]).sum(1)
    return np.where(valid.sum(1) > 2, np.abs(twice) / 2, 0.0).reshape(count)


def overlaps_of(box: Array, others: Array) -> Array:
    """Shared area over joint area of one rectangle (5,) with each of others (n, 5)."""
    reach = np.hypot(others[:, 2], others[:, 3]) + np.hypot(box[2], box[3])
    near = np.hypot(*(others[:, :2] - box[:2]).T) * 2 < reach
    shared = np.zeros(len(others))
    if near.any():
        shared[near] = shared_areas(corners_of(box[None])[0], corners_of(others[near]))
    joint = box[2] * box[3] + others[:, 2] * others[:, 3] - shared
    return np.asarray(np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0))


def turned_nms(boxes: Array, scores: Array, iou: float) -> Array:
    """Indices of the rectangles (n, 5) that no better one overlaps by more than `iou`, best first."""
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[overlaps_of(boxes[best], boxes[left]) <= iou]
    return np.array(kept, np.intp)


def _inside(points: Array, shapes: Array) -> Array:
    """Which of (n, 4, 2) lie inside the rectangle of the same row, whose corners go round either way."""
    edges = np.roll(shapes, -1, 1) - shapes
    rays = points[:, :, None] - shapes[:, None]
    side = edges[:, None, :, 0] * rays[..., 1] - edges[:, None, :, 1] * rays[..., 0]
    return np.asarray((side >= -_SLACK).all(2) | (side <= _SLACK).all(2))


def _crossings(some: Array, others: Array) -> tuple[Array, Array]:
    """Where edges cross, (n, 16, 2), and whether they do."""
    start, along = some[:, :, None], (np.roll(some, -1, 1) - some)[:, :, None]
    origin, other = others[:, None], (np.roll(others, -1, 1) - others)[:, None]
    gap = origin - start
    turn = along[..., 0] * other[..., 1] - along[..., 1] * other[..., 0]
    apart = np.abs(turn) > _SLACK
    safe = np.where(apart, turn, 1.0)
    t = (gap[..., 0] * other[..., 1] - gap[..., 1] * other[..., 0]) / safe
    u = (gap[..., 0] * along[..., 1] - gap[..., 1] * along[..., 0]) / safe
    cross = apart & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    points = start + along * t[..., None]
    return points.reshape(len(some), 16, 2), cross.reshape(len(some), 16)

"""Points of a laser scanner in voxels, as PointPillars and SECOND take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.errors import FeedsError
from modelport.types import Array


@dataclass(frozen=True, eq=False)
class Voxels:
    """Attributes:
    points: voxels x most points x numbers of a point, float32; zeros after the last point.
    places: voxels x 3, int32: z, y and x of each in the grid.
    counts: voxels, int32: points in each.
    """

    points: Array
    places: Array
    counts: Array

    def padded(self, count: int) -> Voxels:
        """With empty voxels at place -1 behind, for models that take a fixed number."""
        spare = count - len(self.counts)
        return Voxels(
            np.pad(self.points, ((0, spare), (0, 0), (0, 0))),
            np.pad(self.places, ((0, spare), (0, 0)), constant_values=-1),
            np.pad(self.counts, (0, spare)),
        )


def grid_of(size: tuple[float, ...], extent: tuple[float, ...]) -> tuple[int, int, int]:
    """How many voxels there are along x, y and z."""
    sides = (np.array(extent[3:]) - np.array(extent[:3])) / np.array(size)
    x, y, z = (int(side) for side in np.rint(sides))
    return x, y, z


def voxelise(
    points: Array,
    size: tuple[float, float, float],
    extent: tuple[float, float, float, float, float, float],
    *,
    most_points: int = 32,
    most_voxels: int = 16000,
) -> Voxels:
    """Sorts points into voxels, first come first served (Zhou and Tuzel 2018, VoxelNet, section 2.1.1).

    Voxels stand in the order in which their first points come. Points that fall into no voxel, into a
    full one, or into one too many are left out.

    Args:
        points: n x (3 or more): x, y, z and what else belongs to a point, such as its reflectance.
        size: of a voxel along x, y and z, in the unit of the points.
        extent: least x, y, z, and largest x, y, z, of which the latter belong to no voxel.

    Raises:
        FeedsError: where the points are no table of that form.
    """
    if points.ndim != 2 or points.shape[1] < 3:
        raise FeedsError(
            f"Points have shape {list(points.shape)}", expected="n x 3 or more: x, y, z and others"
        )
    grid = grid_of(size, extent)
    least, step = np.array(extent[:3], np.float32), np.array(size, np.float32)
    with np.errstate(invalid="ignore"):  # what is not finite is left out below
        cells = np.floor((points[:, :3] - least) / step).astype(np.int64)
    inside = ((cells >= 0) & (cells < grid)).all(1) & np.isfinite(points[:, :3]).all(1)
    rows, cells = points[inside].astype(np.float32), cells[inside]
    numbers = (cells[:, 2] * grid[1] + cells[:, 1]) * grid[0] + cells[:, 0]
    known, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    turn = np.empty(len(known), np.int64)
    turn[np.argsort(first)] = np.arange(len(known))  # voxels in the order of their first points
    voxel = turn[which]
    order = np.argsort(voxel, kind="stable")
    begins = np.searchsorted(voxel[order], np.arange(len(known)))
    rank = np.arange(len(order)) - begins[voxel[order]]
    fits = (rank < most_points) & (voxel[order] < most_voxels)
    order, rank = order[fits], rank[fits]
    count = min(len(known), most_voxels)
    filled = np.zeros((count, most_points, points.shape[1]), np.float32)
    filled[voxel[order], rank] = rows[order]
    places = np.zeros((count, 3), np.int32)
    places[voxel[order]] = cells[order][:, ::-1]
    counts = np.bincount(voxel[order], minlength=count).astype(np.int32)
    return Voxels(filled, places, counts)

"""Loops for convolutions and products of matrices, without tuning.

TVM's own sum each result by itself, which no compiler may turn into vectors. Here a block of results is
summed side by side: its last axis in vectors, a few of the axis before it unrolled, all in registers, and
the outer loops spread over threads. Sizes that have no divisor for that are left as they are.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx

LANES = 16
"""Most results of a vector; two registers of AVX2."""

LEAST_LANES = 4
ROWS = 4
"""Most vectors side by side: with LANES, as many as registers hold."""

SPATIAL, REDUCED = 0, 2
"""Kinds of axes, as TVM numbers them."""


@tvm.transform.module_pass(opt_level=0, name="ArrangeLoops")
class ArrangeLoops:
    def transform_module(self, module: Any, _: Any) -> Any:
        for name, function in list(module.functions_items()):
            if isinstance(function, tirx.PrimFunc):
                module[name] = _arranged(function)
        return module


def _arranged(function: Any) -> Any:
    schedule = s_tir.Schedule(function)
    changed = False
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        name = schedule.get(block).name_hint
        if not _is_product(schedule.get(block)):
            continue
        attempt = schedule.copy()
        try:
            if _arrange(attempt, attempt.get_sblock(name)):
                schedule, changed = attempt, True
        except s_tir.ScheduleError:
            continue  # an index that the schedule cannot follow
    return schedule.mod["main"].with_attrs(function.attrs) if changed else function


def _is_product(block: Any) -> bool:
    """Whether it sums products, and its last axis is the last one of something it reads."""
    if block.init is None or len(block.reads) < 2 or len(block.writes) != 1:
        return False
    axes = [axis.var for axis in block.iter_vars if axis.iter_type == SPATIAL]
    return bool(axes) and any(
        read.region and read.region[-1].min.same_as(axes[-1]) for read in block.reads
    )


def _arrange(schedule: Any, block: Any) -> bool:
    axes, loops = schedule.get(block).iter_vars, schedule.get_loops(block)
    kinds = [axis.iter_type for axis in axes]
    if len(loops) != len(axes) or set(kinds) != {SPATIAL, REDUCED}:
        return False
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == SPATIAL]
    reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == REDUCED]
    lanes = _divisor(_extent(schedule, spatial[-1]), LANES)
    if lanes < LEAST_LANES:
        return False
    *outer, last = spatial
    vectors, lane = schedule.split(last, [None, lanes])
    rows = []
    if outer and (count := _divisor(_extent(schedule, outer[-1]), ROWS)) > 1:
        outer[-1], row = schedule.split(outer[-1], [None, count])
        rows = [row]
    schedule.reorder(*outer, vectors, *reduced, *rows, lane)
    kept = schedule.cache_write(block, 0, "local")
    schedule.reverse_compute_at(kept, vectors, preserve_unit_loops=True)
    schedule.vectorize(schedule.get_loops(kept)[-1])
    for row in rows:
        schedule.unroll(row)
    schedule.vectorize(lane)
    schedule.parallel(schedule.fuse(*outer) if len(outer) > 1 else (outer or [vectors])[0])
    schedule.decompose_reduction(block, reduced[0])
    return True


def _extent(schedule: Any, loop: Any) -> int:
    """How often the loop runs; 1 where only a run can tell."""
    extent = schedule.get(loop).extent
    return int(extent) if isinstance(extent, (int, tirx.IntImm)) else 1


def _divisor(size: int, most: int) -> int:
    return next(each for each in range(most, 0, -1) if size % each == 0)

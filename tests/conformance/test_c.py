"""The C engine as its users meet it: one file, compiled by hand, in a program of their own."""

from __future__ import annotations

import pytest

from modelport.engines import ENGINES
from modelport.engines.base import Engine

MAIN = """
#include <stdio.h>
#include "model.c"

static float x[MODEL_SIZE_x], y[MODEL_SIZE_y];
static union { unsigned char bytes[MODEL_WORK_BYTES]; double aligned; long double more; } work;

int main(void) {
    if (fread(x, sizeof(float), MODEL_SIZE_x, stdin) != MODEL_SIZE_x) return 1;
    model_run(x, y, &work);
    model_run(x, y, &work);
    return fwrite(y, sizeof(float), MODEL_SIZE_y, stdout) != MODEL_SIZE_y;
}
"""


@pytest.fixture
def engine() -> Engine:
    found = ENGINES.get("c")
    if reason := found.available():
        pytest.skip(f"c: {reason}")
    return found

"""What the fork server imports once, so that every child starts with it.

All that is slow to import, and a first export on both sides: it loads tables of operators, which is no
model's own time.
"""

from __future__ import annotations

import io

import onnxruntime  # noqa: F401
import torch
from torch import nn

import modelport
from zoo_models import attempt  # noqa: F401
from zoo_models.sides import quiet
from zoo_models.torchvision_shim import prepare

torch.set_num_threads(1)
prepare()
with quiet():
    modelport.export(nn.Linear(2, 2), torch.ones(1, 2))
    torch.onnx.export(
        nn.Linear(2, 2), (torch.ones(1, 2),), io.BytesIO(), dynamo=True, verbose=False
    )

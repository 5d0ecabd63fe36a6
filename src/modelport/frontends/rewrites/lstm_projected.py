"""An LSTM that projects its hidden state, step by step: ONNX's LSTM has no projection.

torch's exporter writes the operator all the same, with states of the wrong size. The steps are those of
the torch documentation of nn.LSTM; a free length cannot be unrolled and stops the export.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class ProjectedLstm(nn.Module):
    """Stands in for an nn.LSTM with `proj_size`, with its parameters under their names."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.layers, self.hidden, self.size = layer.num_layers, layer.hidden_size, layer.proj_size
        self.batch_first, self.bias = layer.batch_first, layer.bias
        self.ends = ("", "_reverse") if layer.bidirectional else ("",)
        for name, parameter in layer.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(self, input: torch.Tensor, hx: Any = None) -> Any:
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if self.batch_first and batched else x
        begin = self._begin(x, hx, batched)
        ends: list[tuple[torch.Tensor, torch.Tensor]] = []
        for layer in range(self.layers):
            sides = []
            for direction, end in enumerate(self.ends):
                index = layer * len(self.ends) + direction
                states = begin[0][index], begin[1][index]
                outputs, last = self._run(x, states, f"l{layer}{end}", backward=bool(direction))
                sides.append(outputs)
                ends.append(last)
            x = torch.cat(sides, dim=-1)
        h, c = (torch.stack(list(states)) for states in zip(*ends, strict=True))
        if not batched:
            return x.squeeze(1), (h.squeeze(1), c.squeeze(1))
        return (x.transpose(0, 1) if self.batch_first else x), (h, c)

    def _begin(self, x: torch.Tensor, hx: Any, batched: bool) -> Any:
        if hx is not None:
            return hx if batched else [state.unsqueeze(1) for state in hx]
        count = self.layers * len(self.ends)
        return [x.new_zeros(count, x.shape[1], size) for size in (self.size, self.hidden)]

    def _run(
        self, x: torch.Tensor, states: Any, name: str, *, backward: bool
    ) -> tuple[torch.Tensor, Any]:
        """One direction of one layer over all steps."""
        steps = range(x.shape[0] - 1, -1, -1) if backward else range(x.shape[0])
        outputs: list[torch.Tensor] = []
        for step in steps:
            states = self._step(x[step], states[0], states[1], name)
            outputs.append(states[0])
        return torch.stack(outputs[::-1] if backward else outputs), states

    def _step(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, name: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        gates = nn.functional.linear(x, self._of("weight_ih", name), self._bias("ih", name))
        gates = gates + nn.functional.linear(h, self._of("weight_hh", name), self._bias("hh", name))
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = nn.functional.linear(torch.sigmoid(o) * torch.tanh(c), self._of("weight_hr", name))
        return h, c

    def _of(self, kind: str, name: str) -> torch.Tensor:
        return self.get_parameter(f"{kind}_{name}")

    def _bias(self, side: str, name: str) -> torch.Tensor | None:
        return self._of(f"bias_{side}", name) if self.bias else None

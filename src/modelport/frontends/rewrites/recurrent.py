"""Recurrent layers as the operators LSTM, GRU and RNN of ONNX.

torch.export runs a recurrent layer step by step: the graph has every step, and a free length stops it.
ONNX orders the gates otherwise than torch: LSTM i, o, f, c where torch has i, f, g, o; GRU z, r, h where
torch has r, z, n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modelport.frontends.rewrites.base import TORCH_EXPORT, ModuleRewrite
from modelport.frontends.rewrites.lstm_projected import ProjectedLstm

_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class _Recurrent(nn.Module):
    """Stands in for a recurrent layer, with its parameters under their names."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.kind = type(layer).__name__
        self.directions = 2 if layer.bidirectional else 1
        self.layers, self.hidden = layer.num_layers, layer.hidden_size
        self.batch_first, self.bias = layer.batch_first, layer.bias
        self.attributes: dict[str, Any] = {
            "hidden_size": layer.hidden_size,
            "direction": "bidirectional" if layer.bidirectional else "forward",
        }
        if self.kind == "GRU":
            self.attributes["linear_before_reset"] = 1
        if self.kind == "RNN":
            self.attributes["activations"] = [
                str(layer.nonlinearity).capitalize()
            ] * self.directions
        for name, parameter in layer.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(self, input: torch.Tensor, hx: Any = None) -> Any:
        if not isinstance(input, torch.Tensor):
            raise TypeError("a packed sequence cannot be exported; give the padded tensor")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if self.batch_first and batched else x
        states = self._states(x, hx, batched)
        ends: list[list[torch.Tensor]] = [[] for _ in states]
        for index in range(self.layers):
            first = index * self.directions
            begin = [state[first : first + self.directions] for state in states]
            x, *last = self._layer(x, index, begin)
            for end, state in zip(ends, last, strict=True):
                end.append(state)
        x = x.transpose(0, 1) if self.batch_first and batched else x
        finals = [torch.cat(end) for end in ends]
        if not batched:
            x, finals = x.squeeze(1), [final.squeeze(1) for final in finals]
        return x, tuple(finals) if self.kind == "LSTM" else finals[0]

    def _states(self, x: torch.Tensor, hx: Any, batched: bool) -> list[torch.Tensor]:
        count = 2 if self.kind == "LSTM" else 1
        if hx is None:
            shape = (self.layers * self.directions, x.shape[1], self.hidden)
            return [x.new_zeros(shape)] * count
        given = list(hx) if self.kind == "LSTM" else [hx]
        return given if batched else [state.unsqueeze(1) for state in given]

    def _layer(
        self, x: torch.Tensor, index: int, begin: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        names = [f"l{index}{end}" for end in ("", "_reverse")[: self.directions]]
        weights = [
            torch.stack([self._gates(f"weight_{side}_{name}") for name in names])
            for side in ("ih", "hh")
        ]
        bias = None
        if self.bias:
            pairs = [(f"bias_ih_{name}", f"bias_hh_{name}") for name in names]
            bias = torch.stack([torch.cat([self._gates(n) for n in pair]) for pair in pairs])
        steps, batch = x.shape[0], x.shape[1]
        state = (self.directions, batch, self.hidden)
        shapes = [(steps, *state), *([state] * len(begin))]
        y, *last = torch.onnx.ops.symbolic_multi_out(
            self.kind,
            (x, *weights, bias, None, *begin),
            self.attributes,
            dtypes=[x.dtype] * len(shapes),
            shapes=shapes,
        )
        joined = y.permute(0, 2, 1, 3).reshape(steps, batch, self.directions * self.hidden)
        return (joined, *last)

    def _gates(self, name: str) -> torch.Tensor:
        gates = getattr(self, name).chunk(len(_ORDER[self.kind]))
        return torch.cat([gates[index] for index in _ORDER[self.kind]])


class _RecurrentRewrite(ModuleRewrite):
    exporters = (TORCH_EXPORT,)
    graph_only = True

    def replace(self, module: nn.Module) -> nn.Module:
        return _Recurrent(module) if isinstance(module, nn.RNNBase) else module


class Lstm(_RecurrentRewrite):
    name = "lstm"
    summary = "writes nn.LSTM as the operator LSTM"
    needed_by = "nn.LSTM with a free length, CRNN say"
    target = "torch.nn.LSTM"

    def replace(self, module: nn.Module) -> nn.Module:
        if isinstance(module, nn.LSTM) and module.proj_size:
            return ProjectedLstm(module)
        return super().replace(module)


class Gru(_RecurrentRewrite):
    name = "gru"
    summary = "writes nn.GRU as the operator GRU"
    needed_by = "nn.GRU with a free length"
    target = "torch.nn.GRU"


class Rnn(_RecurrentRewrite):
    name = "rnn"
    summary = "writes nn.RNN as the operator RNN"
    needed_by = "nn.RNN with a free length"
    target = "torch.nn.RNN"

"""Recurrent networks, with and without free sizes and states of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo_models.case import Case, Leaf, floats

STEPS = floats((2, 5, 8), (3, 9, 8))
FIXED = floats((2, 5, 8))
STATE = floats((2, 2, 6))


class Wrapped(nn.Module):
    """Gives the outputs alone, as most networks use them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        output, state = self.layer(x)
        return output, state


class WithState(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, h: Tensor, c: Tensor | None = None) -> Any:
        return self.layer(x, h if c is None else (h, c))


class CellLoop(nn.Module):
    """A cell called step by step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.shape[0], 6)
        steps = []
        for index in range(5):
            state = self.cell(x[:, index], state)
            steps.append(state)
        return torch.stack(steps, 1)


class Captioner(nn.Module):
    """Convolutions, then a BiLSTM over the columns: the shape of text recognisers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(8, 6, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.conv(x).mean(2).permute(2, 0, 1)
        return self.head(self.lstm(columns)[0]).log_softmax(-1)


class ConvGru(nn.Module):
    """The update of RAFT: a GRU whose gates are convolutions, iterated."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(8, 8, 3, padding=1)
        self.candidate = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(x)
        for _ in range(4):
            z, r = self.gates(torch.cat([h, x], 1)).sigmoid().chunk(2, 1)
            q = torch.tanh(self.candidate(torch.cat([r * h, x], 1)))
            h = (1 - z) * h + z * q
        return h


def _case(name: str, layer: Any, x: Leaf = STEPS, **more: Any) -> Case:
    return Case(f"recurrent/{name}", lambda: Wrapped(layer()), {"x": x, **more})


CASES = [
    _case("lstm", lambda: nn.LSTM(8, 6, batch_first=True)),
    _case("lstm_fixed", lambda: nn.LSTM(8, 6), FIXED),
    _case("lstm_deep_both_ways", lambda: nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)),
    _case("lstm_projected", lambda: nn.LSTM(8, 6, proj_size=3, batch_first=True), FIXED),
    _case("gru", lambda: nn.GRU(8, 6, batch_first=True)),
    _case("gru_deep_both_ways", lambda: nn.GRU(8, 6, 2, bidirectional=True), FIXED),
    _case("rnn_tanh", lambda: nn.RNN(8, 6, batch_first=True)),
    _case("rnn_relu", lambda: nn.RNN(8, 6, nonlinearity="relu"), FIXED),
    Case(
        "recurrent/lstm_with_state",
        lambda: WithState(nn.LSTM(8, 6, 2, batch_first=True)),
        {"x": FIXED, "h": STATE, "c": STATE},
    ),
    Case(
        "recurrent/gru_with_state",
        lambda: WithState(nn.GRU(8, 6, 2, batch_first=True)),
        {"x": FIXED, "h": STATE},
    ),
    Case(
        "recurrent/cell_loop",
        lambda: CellLoop(nn.GRUCell(8, 6)),
        {"x": floats((2, 5, 8), (3, 5, 8))},
    ),
    Case("recurrent/captioner", Captioner, {"x": floats((2, 1, 8, 20), (1, 1, 8, 32))}),
    Case("recurrent/conv_gru", ConvGru, {"x": floats((2, 4, 6, 7), (1, 4, 9, 5))}),
]

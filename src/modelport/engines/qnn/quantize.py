"""Quantizes a float graph as the HTP wants it: every operator between quantized values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

from modelport.types import Array


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    def __init__(self, feeds: Sequence[dict[str, Array]]) -> None:
        self._feeds = feeds
        self._left: Iterator[dict[str, Array]] = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left = iter(self._feeds)


def quantize_into(
    place: Path, source: Path, feeds: Sequence[dict[str, Array]], bits: int, in_uint8: Sequence[str]
) -> None:
    """Writes the quantized graph: weights in int8, of convolutions by channel.

    Args:
        bits: of activations.
        in_uint8: weights that the HTP takes in uint8 alone.
    """
    config = get_qnn_qdq_config(
        str(source),
        _Feeds(feeds),
        activation_type=QuantType.QUInt8 if bits == 8 else QuantType.QUInt16,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides={name: [{"quant_type": QuantType.QUInt8}] for name in in_uint8} or None,
    )
    quantize(str(source), str(place), config)

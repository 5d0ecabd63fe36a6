"""How close a variant must be, by its precision, to count as the same model.

A fidelity budget says how much the user will give up; this table says what a healthy conversion
looks like, whatever the budget: a variant outside it is broken, not merely coarse.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelport.verify.metrics import Closeness


@dataclass(frozen=True)
class Tolerance:
    """Least cosine over the samples on average and for the worst one, and least SQNR."""

    cosine_mean: float
    cosine_min: float
    sqnr_db: float


TOLERANCES: dict[str, Tolerance] = {
    # Float sums in another order stay above 100 dB on the networks measured; 60 leaves room for
    # Winograd convolutions and deep transformers.
    "fp32": Tolerance(cosine_mean=0.99999, cosine_min=0.9999, sqnr_db=60.0),
    # Eleven bits of mantissa give some 45 to 65 dB at the logits.
    "fp16": Tolerance(cosine_mean=0.999, cosine_min=0.99, sqnr_db=30.0),
    # Eight bits of mantissa give some 25 to 45 dB at the logits.
    "bf16": Tolerance(cosine_mean=0.99, cosine_min=0.95, sqnr_db=18.0),
    # Three bits of mantissa are as coarse as int8 where numbers are large, and finer where they are small.
    "fp8": Tolerance(cosine_mean=0.95, cosine_min=0.85, sqnr_db=10.0),
    # Sound int8 of small convolutional nets lies at 13 dB and up; a ViT quantized without care
    # falls to a cosine of 0.92, and must not pass.
    "int8": Tolerance(cosine_mean=0.95, cosine_min=0.85, sqnr_db=10.0),
}


def violations(measured: Closeness, precision: str) -> list[str]:
    """What is outside the tolerance of that precision, in words; empty where nothing is."""
    tolerance = TOLERANCES[precision]
    if measured.non_finite:
        return [f"{measured.non_finite} values are NaN or infinite where the source's are finite"]
    if measured.cosine_mean is None:
        return ["the source's own values are NaN or infinite, so nothing can be compared"]
    found = []
    for name, unit in (("cosine_mean", ""), ("cosine_min", ""), ("sqnr_db", " dB")):
        value, least = getattr(measured, name), getattr(tolerance, name)
        if not value >= least:
            found.append(f"{name} is {value:.5g}{unit}, {precision} needs {least:g}{unit}")
    return found

"""One engine call: every variant of the demo's bundle against `torch.onnx.export` + ONNX Runtime fp32."""

from __future__ import annotations

import onnxruntime as ort
from harness import THREADS, demo_bundle, in_turn, peer_onnx, photos, publish, summary

from modelport.bundle.read import Bundle
from modelport.runtime.predictor import open_variant, preprocessor_of

PEER = "torch.onnx.export + ONNX Runtime fp32"


def main() -> None:
    bundle = Bundle(demo_bundle())
    pipeline = preprocessor_of(bundle)
    assert pipeline is not None
    image = pipeline(photos()[0])
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    peer = ort.InferenceSession(str(peer_onnx()), options, providers=["CPUExecutionProvider"])
    name = peer.get_inputs()[0].name
    calls = {PEER: lambda: peer.run(None, {name: image})}
    for variant in bundle.variants:
        session = open_variant(bundle, variant, threads=THREADS)
        label = variant.name + (" (chosen)" if variant.verdict == "chosen" else "")
        calls[label] = lambda session=session: session.run({"image": image})
    times = in_turn(calls, rounds=60, warm=5, counted=10)
    lines = [
        "Target: the chosen variant, within a fidelity budget of 1 %, at least 2 times as fast.",
        "",
        *summary(times, PEER),
        "",
        "| variant | loss | SQNR dB | top-1 agreement |",
        "| --- | ---: | ---: | ---: |",
    ]
    for variant in bundle.variants:
        fidelity = variant.fidelity
        assert fidelity is not None
        assert fidelity.loss is not None
        lines.append(
            f"| {variant.name} | {fidelity.loss:.2%} | {fidelity.sqnr_db:.1f} | "
            f"{fidelity.top1_agreement:.1%} |"
        )
    publish("latency", "Latency of one engine call, MobileNetV2 224x224", lines)


if __name__ == "__main__":
    main()

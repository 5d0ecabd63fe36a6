"""Reading and editing an `onnx_ir.Model`; no class of ours wraps it."""

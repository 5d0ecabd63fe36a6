"""Runs bundles in production: no compiler, no PyTorch, no ONNX."""

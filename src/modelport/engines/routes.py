"""Ways from a source to an engine."""

GRAPH = "graph"
"""Through the graph, as an ONNX file."""

PROGRAM = "program"
"""From the program that torch.export captured, a `.pt2` file."""

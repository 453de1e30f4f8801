"""Whether an engine computes what its graph says: engine and ONNX Runtime side by side on real frames."""

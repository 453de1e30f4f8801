"""What is checked before a graph takes its name: TensorRT can take it, and each stage computes what it should."""

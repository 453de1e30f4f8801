"""FP32 graph to INT8 Q/DQ graph: what ranges tensors have, and where quantizers stand."""

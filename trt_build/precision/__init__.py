"""FP16 and INT8 graphs of exported networks: written, checked, and compared with FP32 before they get their names."""

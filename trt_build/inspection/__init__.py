"""What a graph will cost: its layers as TensorRT would fuse them, and a bound for their time on a board."""

"""What sees and colours: the interface of the lanes, on the CPU and on the GPU."""

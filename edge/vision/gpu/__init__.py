"""The pipeline on a GPU: each lane has one stream, and between luma and NV12 nothing comes back to the CPU."""

"""Pixel arithmetic: luma to a network's input, luma and chroma to NV12."""

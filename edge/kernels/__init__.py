"""Colour arithmetic: chroma and luma to NV12."""

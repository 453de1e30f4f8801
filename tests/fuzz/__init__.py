"""Bytes from outside, spoilt in a hundred thousand ways: `make fuzz`. What is held to what stands in target.py."""

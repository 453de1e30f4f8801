"""Judging colours and boxes: the same judges for a checkpoint and for a bundle."""

"""Data sets and the imitation of near-infrared light."""

"""Engines on this unit: which fit, which is taken, how they are renewed. They never travel."""

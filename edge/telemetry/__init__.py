"""What leaves the unit as messages."""

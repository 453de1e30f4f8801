"""Whether the station is well: picture, place, clock, disk. Nothing here sees the lanes, or delays them."""

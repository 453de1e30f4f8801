"""A calibration set: frames that INT8's ranges are taken from, chosen with care and kept as a folder of their own."""

"""From a checkpoint to a measured bundle: export, quantize, pack."""

"""The demo clip, made from a few free photographs: see NOTICE."""

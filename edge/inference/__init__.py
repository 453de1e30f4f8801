"""Runners: named arrays in, named arrays out."""

"""Engines from a bundle's graphs: built on the unit, kept beside the bundle, renewed when they no longer fit."""

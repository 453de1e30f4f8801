"""Measures of colour, flicker and detection. numpy and its libraries alone: no network is known here."""

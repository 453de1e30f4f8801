"""Commands from afar: parsed, admitted, carried out one at a time, and answered."""

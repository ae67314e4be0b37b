"""Defaults of a prediction that several rooms share. Imports the standard library alone."""

OVERLAP = 0.25  # share of a tile that its neighbour covers too
BATCH_SIZE = 8  # tiles

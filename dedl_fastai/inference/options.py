"""Default options of predictions that several modules share. Imports only the standard library."""

OVERLAP = 0.25  # share of a tile's edge that the next tile also covers
BATCH_SIZE = 8  # tiles

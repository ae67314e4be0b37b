"""Measurements: how fast the loader and the training step are, as ratios taken in one run on one machine."""

"""Measurements: tables of runs side by side; speeds as ratios taken in one run on one machine."""

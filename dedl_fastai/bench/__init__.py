"""Benchmarks: the paper's tables as grids of runs with reports, and speeds as ratios measured on one machine."""

"""Grids of runs: the plan, the processes that carry it out, on one machine or on a cluster."""

"""Grids of runs: the plan, and the processes that carry it out on one machine or on a cluster."""

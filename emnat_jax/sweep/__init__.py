"""Grids of runs in one workdir: cells, what they share, and the summary over seeds."""

"""Fitting a family: optimiser, state, step, loop, checkpoints, metrics. No family's name stands here."""

"""Flax Linen modules of the one Transformer and its heads: arrays in, arrays out."""

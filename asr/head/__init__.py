"""Heads: encoder frames to token probabilities, and the training losses."""

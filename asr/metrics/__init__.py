"""Evaluation: word errors, their uncertainty, and statistics of attention maps."""

"""Encoder frames to token probabilities."""

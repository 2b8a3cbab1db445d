"""Waveform to token probabilities: the whole model, how it is built, saved and loaded."""

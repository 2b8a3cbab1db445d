"""Measures models (accuracy, latency, memory, attention) and returns records."""

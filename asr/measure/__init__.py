"""Measurements of models (accuracy, latency, memory, attention), returned as records."""

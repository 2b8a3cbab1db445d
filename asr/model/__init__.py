"""The whole model, from waveform to token probabilities: building, saving and loading it."""

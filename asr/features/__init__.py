"""Log-mel features from waveforms, on the model's device; the only user of torchaudio."""

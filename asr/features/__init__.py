"""Waveforms to log-mel features on the device of the model; the only user of torchaudio."""

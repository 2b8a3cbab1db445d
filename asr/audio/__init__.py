"""Audio files: reading, writing, resampling one channel; the only user of soundfile and soxr."""

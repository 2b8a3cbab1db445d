"""Audio files: read, write and resample one channel; the only user of soundfile and soxr."""

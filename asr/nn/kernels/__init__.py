"""Kernels of our own for CUDA, in Triton; the plain operations are their reference and fallback."""

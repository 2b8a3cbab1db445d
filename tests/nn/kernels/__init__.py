"""Tests of asr.nn.kernels."""

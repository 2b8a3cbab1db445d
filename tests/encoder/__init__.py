"""Tests of asr.encoder."""

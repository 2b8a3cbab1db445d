"""Tests of asr.model."""

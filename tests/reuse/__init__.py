"""Tests of asr.reuse."""

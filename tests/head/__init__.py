"""Tests of asr.head."""

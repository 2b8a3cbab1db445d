"""Tests of asr.nn."""

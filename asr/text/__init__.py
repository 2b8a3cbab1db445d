"""Transcripts: one spelling, and token ids; the only user of sentencepiece."""

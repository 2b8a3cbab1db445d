"""Transcripts: normalisation and tokenisation; the only user of sentencepiece."""

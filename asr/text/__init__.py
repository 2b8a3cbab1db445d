"""Transcripts: normalisation, tokenisation and scoring rules; the only user of sentencepiece."""

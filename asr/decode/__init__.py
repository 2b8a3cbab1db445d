"""Decoding audio to text: chunks, batches, searches, word times and output formats."""

"""Decoding audio to text: chunks, batches, search, word times, and output formats."""

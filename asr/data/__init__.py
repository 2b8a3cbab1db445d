"""From corpora to batches; the only package that knows lhotse.

folder, synthetic -> manifest -> batching -> dataset -> loader
"""

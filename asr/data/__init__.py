"""From corpora to batches, in lhotse's formats; the only package that knows lhotse.

corpora, folder, formats, synthetic -> manifest, shards -> batching -> dataset -> loader
"""

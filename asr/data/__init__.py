"""Corpora to manifests to batches, in lhotse's formats; the only package that uses lhotse.

corpora, folder, formats, synthetic -> manifest, shards -> batching -> dataset -> loader
"""

"""Corpora as lhotse Shar shards: few large files that are read where they lie.

write -> index <- read; fetch gets the bytes of an utterance from a file or a server
"""

"""Corpora as lhotse Shar shards: few large files, read in place from disk or a server.

write -> index <- read; fetch gets the bytes of an utterance from a file or a server
"""

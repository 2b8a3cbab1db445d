"""Corpora as lhotse Shar shards: few large files, read in place from disk or a server.

``write`` makes them, ``read`` reads the index and the utterances; ``fetch`` gets an utterance's
bytes from a file or a server.
"""

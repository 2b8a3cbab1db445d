"""Public corpora: downloading, verifying, unpacking and preparing them.

parts -> archives (disk, download, checksum) -> unpack -> librispeech, sounds; recipes wraps
lhotse's
"""

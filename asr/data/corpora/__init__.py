"""Public corpora: what there is, and how it gets here whole.

parts -> archives (disk, download, checksum) -> unpack -> librispeech, sounds; recipes takes what
lhotse has prepared
"""

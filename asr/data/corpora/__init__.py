"""Public corpora: what there is, and how it gets here whole.

parts -> disk, download -> unpack -> librispeech; recipes takes what lhotse has prepared
"""

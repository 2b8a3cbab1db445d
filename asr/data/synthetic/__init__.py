"""The synthetic corpus: sentences of a small grammar, spoken by espeak-ng.

    grammar (sentences) + voices -> plan -> worker processes (espeak-ng) -> FLAC and manifests

The synthesiser is GPL-3 software. Only ``worker`` loads it: a program in a process of its own that
receives text and returns samples. Nothing else in ``asr`` imports it.
"""

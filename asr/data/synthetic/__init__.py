"""The synthetic corpus: sentences of a small grammar, spoken by espeak-ng.

    grammar (sentences) + voices -> plan -> worker processes (espeak-ng) -> FLAC and manifests

The synthesiser is GPL-3 software. It is loaded by ``worker`` alone, a program that runs in a
process of its own and answers text with samples; nothing else in ``asr`` imports it.
"""

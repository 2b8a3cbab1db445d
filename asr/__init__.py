"""Encore: speech recognition that computes attention once and plays it again.

The path of data is the layout of the package:

    audio file -> audio -> features -> encoder (nn + reuse) -> head -> decode -> metrics -> report

``text`` serves both ends, ``data`` makes batches, ``train`` and ``cli`` sit on top. Importing
``asr`` touches no network, device or random seed.
"""

__version__ = "0.1.0"

"""The process that holds the synthesiser: ``python -m asr.data.synthetic.worker``.

It reads requests from standard input, one JSON object a line with the arguments of
``Espeak.speak``, and answers each on standard output with a ``wire.HEADER`` and the samples. It
ends with its input. Nothing heavy is imported, so it starts in a twentieth of a second.
"""

from __future__ import annotations

import json
import sys

from asr.data.synthetic.espeak import Espeak
from asr.data.synthetic.wire import HEADER


def main() -> None:
    """Answer requests until there are no more."""
    espeak = Espeak()
    output = sys.stdout.buffer
    for line in sys.stdin:
        pcm = espeak.speak(**json.loads(line))
        output.write(HEADER.pack(espeak.sample_rate_hz, len(pcm)))
        output.write(pcm)
        output.flush()


if __name__ == "__main__":
    main()

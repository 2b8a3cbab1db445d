"""`python -m asr` is the `asr` command."""

import sys

from asr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""How a worker's answer begins."""

import struct

HEADER = struct.Struct("<II")  # sample rate in Hz, number of bytes of samples that follow

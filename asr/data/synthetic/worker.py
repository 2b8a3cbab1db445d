"""The worker process that runs espeak-ng: ``python -m asr.data.synthetic.worker``."""

from __future__ import annotations

import ctypes
import json
import struct
import sys

HEADER = struct.Struct("<II")  # sample rate in Hz, number of bytes of samples that follow


_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: the callback gets the samples before Synth returns
_DONT_EXIT = 0x8000  # option of espeak_Initialize: report a missing file, don't end the process
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER
_OK = 0

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """The synthesiser: one per process, not for threads; it keeps state between calls."""

    def __init__(self) -> None:
        import espeakng_loader  # GPL-3: loaded in the worker process alone

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.sample_rate_hz = int(
            self._library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, _DONT_EXIT)
        )
        if self.sample_rate_hz <= 0:
            raise RuntimeError(f"espeak-ng did not start with the data in {data_path.decode()}")
        self._pcm = bytearray()
        self._callback = _Callback(self._receive)  # kept: the library holds only the address
        self._library.espeak_SetSynthCallback(self._callback)
        self._set(_VOLUME, 60)  # of 100: room for the loud voices

    def speak(
        self, text: str, *, voice: str, rate: int, pitch: int, pitch_range: int, seed: int
    ) -> bytes:
        """Return signed 16-bit samples, native byte order, one channel, at ``sample_rate_hz``."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != _OK:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._set(_RATE, rate)
        self._set(_PITCH, pitch)
        self._set(_RANGE, pitch_range)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._pcm.clear()
        data = text.encode()
        size = ctypes.c_size_t(len(data) + 1)
        if self._library.espeak_Synth(data, size, 0, 1, 0, _UTF8, None, None) != _OK:
            raise RuntimeError(f"espeak-ng could not speak {text!r}")
        return bytes(self._pcm)

    def _set(self, parameter: int, value: int) -> None:
        self._library.espeak_SetParameter(parameter, value, 0)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count > 0:
            self._pcm += ctypes.string_at(samples, 2 * count)
        return 0


def main() -> None:
    """Answer requests until standard input ends."""
    espeak = Espeak()
    output = sys.stdout.buffer
    for line in sys.stdin:
        pcm = espeak.speak(**json.loads(line))
        output.write(HEADER.pack(espeak.sample_rate_hz, len(pcm)))
        output.write(pcm)
        output.flush()


if __name__ == "__main__":
    main()

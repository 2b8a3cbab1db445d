import pytest

from asr.errors import InputError
from asr.profiling.streaming import StreamingSpec


def test_spec_keeps_plain_numbers() -> None:
    spec = StreamingSpec(chunk_frames=[4, 8], num_streams=[2])
    assert (spec.chunk_frames, spec.num_streams) == ((4, 8), (2,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chunk_frames": []}, r"metrics.streaming.chunk_frames is \[\]"),
        ({"chunk_frames": [0]}, r"metrics.streaming.chunk_frames=\[0\]"),
        ({"num_streams": [5000]}, r"metrics.streaming.num_streams=\[5000\]"),
        ({"left_frames": -1}, "metrics.streaming.left_frames=-1: allowed: a whole number from 0"),
        ({"repeats": 0}, "metrics.streaming.repeats=0: allowed: a whole number from 1"),
    ],
)
def test_spec_names_the_key(values: dict[str, int | list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StreamingSpec(**values)  # type: ignore[arg-type]

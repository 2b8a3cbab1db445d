import pytest

from asr.errors import InputError
from asr.profiling.scaling import ScalingSpec


def test_spec_keeps_plain_numbers() -> None:
    spec = ScalingSpec(num_threads=[1, 2], batch_sizes=[4], dtypes=["bfloat16"])
    assert (spec.num_threads, spec.batch_sizes, spec.dtypes) == ((1, 2), (4,), ("bfloat16",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length_s": 0}, r"metrics.scaling.length_s=0: allowed: a number above 0"),
        ({"num_threads": [1, 0]}, r"metrics.scaling.num_threads=\[1, 0\]"),
        ({"batch_sizes": []}, r"metrics.scaling.batch_sizes is \[\]"),
        ({"dtypes": ["half"]}, r"metrics.scaling.dtypes is \['half'\]; one or more of float32"),
        ({"dtypes": []}, r"metrics.scaling.dtypes is \[\]"),
        ({"repeats": 0}, "metrics.scaling.repeats=0: allowed: a whole number from 1"),
    ],
)
def test_spec_names_the_key(values: dict[str, float | list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScalingSpec(**values)  # type: ignore[arg-type]

"""Student's t distribution; none of our dependencies computes its tails.

With t = sqrt(df) tan(angle) its density is cos(angle)^(df - 1) up to a constant, smooth on a finite
range, so a fixed quadrature works for any number of degrees of freedom, integer or not.
"""

from __future__ import annotations

import math

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_MOST_DF = 1e4  # beyond it the normal distribution is the same to four digits


def two_sided_p(t: float, df: float) -> float:
    """Return the probability of a value at least as far from zero as ``t``, with ``df`` > 0."""
    assert df > 0, df
    df = min(df, _MOST_DF)
    half = (math.pi / 2 - math.atan(abs(t) / math.sqrt(df))) / 2  # of the angles beyond t
    angles = math.pi / 2 - half * (1 + _NODES)
    log_constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(math.pi)
    tail = half * float(_WEIGHTS @ np.exp(log_constant + (df - 1) * np.log(np.cos(angles))))
    return min(1.0, 2 * tail)


def quantile(level: float, df: float) -> float:
    """Return the t for which ``level`` of the probability lies between -t and t."""
    assert 0 < level < 1, level
    low, high = 0.0, 1.0
    while two_sided_p(high, df) > 1 - level:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if two_sided_p(middle, df) > 1 - level:
            low = middle
        else:
            high = middle
    return high

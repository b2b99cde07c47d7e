"""Quantiles of a few numbers."""

import math
from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, interpolated; 0.5 gives the median.

    Raises:
        ValueError: There is no value, or the share is not between 0 and 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("needs a value, and a share between 0 and 1")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    lower = math.floor(position)
    if lower + 1 == len(ordered):
        return ordered[lower]
    return ordered[lower] + (ordered[lower + 1] - ordered[lower]) * (position - lower)

"""Kubernetes quantities: "500m" of a CPU, "4Gi" of memory, "129e6", ".5".

The grammar and the bounds are those of apimachinery's `resource.Quantity`: digits finer than 10**-9 are
rounded away from zero, and a larger number than 2**63-1 counts as 2**63-1.
https://github.com/kubernetes/apimachinery/blob/master/pkg/api/resource/quantity.go
"""

import re
from decimal import ROUND_UP, Context, Decimal

_SI = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_SUFFIX = r"[KMGTPE]i|[numkMGTPE]?|[eE][-+]?[0-9]+"
_FORM = re.compile(rf"(?P<number>[-+]?{_NUMBER})(?P<suffix>{_SUFFIX})", re.ASCII)
#: The same for a size that a user or a setting gives, which is never negative.
POSITIVE_PATTERN = rf"^\+?{_NUMBER}({_SUFFIX})$"

#: Longer texts are refused: no meaningful number needs so many digits.
MAX_LENGTH = 100
#: With a larger or smaller exponent, the digits of a number of `MAX_LENGTH` no longer matter.
_FAR = 2 * MAX_LENGTH
_MOST = Decimal(2**63 - 1)
_LEAST_UNIT = Decimal(1).scaleb(-9)
#: Enough digits that nothing is rounded before the end.
_EXACT = Context(prec=1000)


def parse_quantity(quantity: str) -> Decimal:
    """Return how much `quantity` is, in CPUs or bytes; raise ValueError if it is not a quantity."""
    match = _FORM.fullmatch(quantity) if len(quantity) <= MAX_LENGTH else None
    if match is None:
        shown = quantity if len(quantity) <= MAX_LENGTH else f"{quantity[:MAX_LENGTH]}…"
        raise ValueError(f'"{shown}" is not a quantity of CPU, memory or storage')
    number, suffix = Decimal(match["number"]), match["suffix"]
    if suffix in _BINARY:
        exact = _EXACT.multiply(number, Decimal(2 ** _BINARY[suffix]))
    else:
        power = _SI[suffix] if suffix in _SI else int(suffix[1:])
        exact = _EXACT.scaleb(number, max(-_FAR, min(power, _FAR)))
    bounded = min(max(exact, -_MOST), _MOST)
    return bounded.quantize(_LEAST_UNIT, ROUND_UP, _EXACT).normalize(_EXACT)


def format_cpu(thousandths: int) -> str:
    """Format CPUs for sentences: "4", "0.5"."""
    return f"{thousandths / 1000:g}"


def format_memory(octets: int) -> str:
    """Format memory for sentences: "8Gi", "1.5Gi", "170Mi"."""
    if octets >= 2**30 or octets == 0:
        return f"{round(octets / 2**30, 1):g}Gi"
    return f"{round(octets / 2**20):g}Mi"

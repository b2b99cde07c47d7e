"""Kubernetes quantities: "500m" of a CPU, "4Gi" of memory."""

import re
from decimal import Decimal

_FACTORS = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}
_FORM = re.compile(rf"(?P<number>[0-9]+(\.[0-9]+)?)(?P<suffix>{'|'.join(_FACTORS)})")


def parse_quantity(quantity: str) -> Decimal:
    """How much `quantity` is, in CPUs or bytes; ValueError if it is none."""
    match = _FORM.fullmatch(quantity)
    if match is None:
        raise ValueError(f'"{quantity}" is not a quantity of CPU, memory or storage')
    return Decimal(match["number"]) * _FACTORS[match["suffix"]]

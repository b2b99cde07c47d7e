"""Sums of Kubernetes quantities: "500m" of a CPU, "4Gi" of memory."""

import re
from decimal import Decimal

from activities.errors import NotAccepted

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


def parse(quantity: str) -> Decimal:
    """How much `quantity` is, in CPUs or bytes. NotAccepted if it is none."""
    match = _FORM.fullmatch(quantity)
    if match is None:
        raise NotAccepted(
            "template",
            f'"{quantity}" in the template\'s values is not a quantity of CPU, memory or storage',
            'Write it as Kubernetes does, such as "500m" or "4Gi"',
        )
    return Decimal(match["number"]) * _FACTORS[match["suffix"]]


def cpus(*quantities: str) -> str:
    """The sum, in thousandths of a CPU."""
    return f"{int(sum(map(parse, quantities)) * 1000)}m"


def octets(*quantities: str) -> str:
    """The sum, in Mi where it comes out even, else in bytes."""
    total = int(sum(map(parse, quantities)))
    return f"{total // 2**20}Mi" if total % 2**20 == 0 else str(total)


def least(*quantities: str) -> str:
    """The smallest of them, as it is written."""
    return min(quantities, key=parse)

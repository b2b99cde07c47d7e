"""Sums of Kubernetes quantities: "500m" of a CPU, "4Gi" of memory."""

from decimal import Decimal

from activities.errors import NotAccepted
from contracts.quantities import parse_quantity


def parse(quantity: str) -> Decimal:
    """How much `quantity` is, in CPUs or bytes. NotAccepted if it is none."""
    try:
        return parse_quantity(quantity)
    except ValueError:
        raise NotAccepted(
            "template",
            f'"{quantity}" in the template\'s values is not a quantity of CPU, memory or storage',
            'Write it as Kubernetes does, such as "500m" or "4Gi"',
        ) from None


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

"""Arithmetic on Kubernetes quantities: "500m" of a CPU, "4Gi" of memory."""

from collections.abc import Sequence
from decimal import Decimal
from math import ceil

from activities.errors import NotAccepted
from clients.host.models import NodeCapacity
from contracts.capacity.models import Limits
from contracts.types.quantities import parse_quantity


def parse(quantity: str) -> Decimal:
    """Return `quantity` in CPUs or bytes; raise NotAccepted if it is not a quantity."""
    try:
        return parse_quantity(quantity)
    except ValueError:
        raise NotAccepted(
            "template",
            f'"{quantity}" in the template\'s values is not a quantity of CPU, memory or storage',
            'Write it as Kubernetes does, such as "500m" or "4Gi"',
        ) from None


def sum_cpus(*quantities: str) -> str:
    """Return the sum in thousandths of a CPU, rounded up as Kubernetes does."""
    return f"{ceil(sum(map(parse, quantities)) * 1000)}m"


def sum_bytes(*quantities: str) -> str:
    """Return the sum in Mi if it is a whole number of Mi, else in bytes, rounded up as Kubernetes does."""
    total = ceil(sum(map(parse, quantities)))
    return f"{total // 2**20}Mi" if total % 2**20 == 0 else str(total)


def multiply(quantity: str, number: int) -> str:
    """Return `number` times the quantity, in Mi if it is a whole number of Mi, else in bytes."""
    return sum_bytes(*[quantity] * number)


def largest(*quantities: str) -> str:
    """Return the largest quantity, as it is written."""
    return max(quantities, key=parse)


def smallest(*quantities: str) -> str:
    """Return the smallest quantity, as it is written."""
    return min(quantities, key=parse)


def capacity_of(nodes: Sequence[NodeCapacity]) -> tuple[Limits, str]:
    """Return the sum of what the nodes have, and a remark on the nodes that could not be counted.

    A node that reports an invalid quantity counts as nothing, so that it does not hide what the others have.
    """
    cpu, memory, odd = Decimal(0), Decimal(0), []
    for node in nodes:
        try:
            here = parse_quantity(node.cpu), parse_quantity(node.memory)
        except ValueError as error:
            odd.append(str(error))
            continue
        cpu, memory = cpu + max(here[0], Decimal(0)), memory + max(here[1], Decimal(0))
    remark = f"{len(odd)} of its {len(nodes)} nodes do not count: {odd[0]}" if odd else ""
    return Limits(cpu=int(cpu * 1000), memory=int(memory)), remark

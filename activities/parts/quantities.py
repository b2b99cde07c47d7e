"""Sums of Kubernetes quantities: "500m" of a CPU, "4Gi" of memory."""

from collections.abc import Sequence
from decimal import Decimal
from math import ceil

from activities.errors import NotAccepted
from clients.host import NodeCapacity
from contracts.capacity.models import Limits
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
    """Give the sum in thousandths of a CPU, rounded up as Kubernetes does."""
    return f"{ceil(sum(map(parse, quantities)) * 1000)}m"


def octets(*quantities: str) -> str:
    """Give the sum in Mi where it comes out even, else in bytes, rounded up as Kubernetes does."""
    total = ceil(sum(map(parse, quantities)))
    return f"{total // 2**20}Mi" if total % 2**20 == 0 else str(total)


def times(quantity: str, number: int) -> str:
    """So many times as much, in Mi where it comes out even, else in bytes."""
    return octets(*[quantity] * number)


def most(*quantities: str) -> str:
    """The largest of them, as it is written."""
    return max(quantities, key=parse)


def least(*quantities: str) -> str:
    """The smallest of them, as it is written."""
    return min(quantities, key=parse)


def room_of(nodes: Sequence[NodeCapacity]) -> tuple[Limits, str]:
    """Sum up what the nodes have, and say in words which of them could not be counted.

    A node that says something odd counts as nothing; it must not hide what the others have.
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

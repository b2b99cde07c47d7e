"""The size of an environment: all that its template and its vCluster may use on a host. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from math import ceil
from typing import Any

from contracts.capacity.models import Amount
from contracts.environment.chart_values import (
    DNS_LIMITS,
    ETCD,
    control_plane_replicas,
    etcd_replicas,
    value_at,
)
from contracts.templates.template import Size
from contracts.types.quantities import parse_quantity


def parts_of_size(size: Size, values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what an environment's namespace may use at most, as the quantities of each sum.

    The template's size is for what the developer runs. What the vCluster itself needs, given the values of
    its chart, is added.
    """
    own = ("controlPlane", "statefulSet", "resources", "limits")
    etcd = (*ETCD, "statefulSet", "resources", "limits")

    def parts(asked: str, what: str) -> tuple[str, ...]:
        planes = [str(value_at(values, *own, what))] * control_plane_replicas(values)
        stores = [str(value_at(values, *etcd, what))] * etcd_replicas(values)
        return (asked, *planes, DNS_LIMITS[what], *stores)

    return {"cpu": parts(size.cpu, "cpu"), "memory": parts(size.memory, "memory")}


def size_of(size: Size, values: Mapping[str, Any]) -> Amount:
    """Return what an environment reserves: all that its namespace may use.

    Raises:
        ValueError: A value of the chart is not a quantity, or a negative one.
    """
    parts = parts_of_size(size, values)
    return Amount(
        environments=1,
        cpu=ceil(sum(map(_positive, parts["cpu"]), Decimal(0)) * 1000),
        memory=ceil(sum(map(_positive, parts["memory"]), Decimal(0))),
    )


def _positive(quantity: str) -> Decimal:
    amount = parse_quantity(quantity)
    if amount < 0:
        raise ValueError(f'"{quantity}" is less than nothing, and a limit of the chart')
    return amount

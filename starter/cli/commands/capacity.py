"""The command `moorage capacity`: free capacity of the hosts, quotas and reservations."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.context import OutputOption, session
from starter.cli.errors import Output

if TYPE_CHECKING:
    from starter.placement.schemas import CapacityView, HoldingView, SharesView, ShareView


def capacity(
    ctx: typer.Context,
    holdings: Annotated[
        bool, typer.Option("--holdings", help="Who holds what, too; for the platform team.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell how much of each host is left, and of your quotas and those of your teams.

    \b
    Example: moorage capacity
    """
    with session(ctx, output) as api:
        from starter.cli.output.formatting import print_json
        from starter.placement.schemas import CapacityView

        answer = api.call("GET", "capacity", query={"holdings": holdings})
        if output is Output.JSON:
            print_json(answer)
        else:
            _print(CapacityView.model_validate(answer))


def _print(view: "CapacityView") -> None:
    from starter.cli.output.formatting import print_table
    from starter.cli.output.printing import print_line

    hosts = [
        [host.name, *_cells(host.shares), _labels(host.labels), _wrong(host.known, host.remark)]
        for host in view.hosts
    ]
    columns = ["environments", "CPU", "memory"]
    print_table(["host", *columns, "labels", ""], hosts, empty="No host is known yet.")
    print_line()
    quotas = [[quota.whose, *_cells(quota.shares)] for quota in view.quotas]
    print_table(["quota of", *columns], quotas, empty="")
    if view.holdings is not None:
        print_line()
        rows = [_holding(one) for one in view.holdings]
        columns = ["name", "owner", "team", "template", "host", "CPU", "memory", "ends"]
        print_table(columns, rows, empty="Nobody holds anything.")
    if view.remark:
        print_line()
        print_line(view.remark)


def _holding(one: "HoldingView") -> list[str]:
    from contracts.capacity.models import format_cpu, format_memory
    from starter.cli.output.formatting import moment

    who = [one.name, one.owner, one.team, one.template, one.host]
    return [*who, format_cpu(one.cpu), format_memory(one.memory), moment(one.ends_at)]


def _cells(shares: "SharesView") -> list[str]:
    from contracts.capacity.models import format_cpu, format_memory

    environments, cpu = _share(shares.environments, str), _share(shares.cpu, format_cpu)
    return [environments, cpu, _share(shares.memory, format_memory)]


def _share(share: "ShareView", said: Callable[[int], str]) -> str:
    if share.total is None or share.left is None:
        return f"{said(share.held)} held, no limit"
    return f"{said(share.left)} of {said(share.total)} left"


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _wrong(known: bool, remark: str) -> str:
    return remark if known else f"nothing is placed there: {remark or 'not known yet'}"

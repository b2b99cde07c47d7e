"""The command `moorage capacity`: free capacity of the hosts, quotas and reservations."""

from collections.abc import Callable, Sequence
from urllib.parse import quote

import click

from contracts.types.quantities import format_cpu, format_memory
from starter.cli.arguments.options import examples, output_option
from starter.cli.command_context import api_session
from starter.cli.completion import complete_template
from starter.cli.errors import Output
from starter.cli.output.formatting import print_table, relative_time
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import parse
from starter.cli.views.capacity import CapacityView, HoldingView, PoolList, PoolView, SharesView, ShareView


@click.command(epilog=examples("moorage capacity", "moorage capacity --holdings"))
@click.option("--holdings", is_flag=True, help="Show all reservations too. (platform team)")
@output_option()
@click.pass_context
def capacity(ctx: click.Context, holdings: bool, output: Output) -> None:
    """Show the free capacity of each host, and your quotas and those of your teams."""
    with api_session(ctx, output) as api:
        answer = api.call("GET", "capacity", query={"holdings": holdings})
        if output is Output.JSON:
            print_json(answer)
        else:
            _print(parse(answer, CapacityView))


@click.command(epilog=examples("moorage pools", "moorage pools --resume small", "moorage pools -o json"))
@click.option(
    "--resume",
    metavar="TEMPLATE",
    shell_complete=complete_template,
    help="Let a pool that has stopped make vClusters again. (platform team)",
)
@output_option()
@click.pass_context
def pools(ctx: click.Context, resume: str | None, output: Output) -> None:
    """Show the warm pools of templates: how many vClusters wait for a request."""
    with api_session(ctx, output) as api:
        if resume is not None:
            answer = api.call("POST", f"pools/{quote(resume, safe='')}/resume")
            if output is Output.JSON:
                print_json(answer)
            else:
                _print_pools([parse(answer, PoolView)])
            return
        answer = api.call("GET", "pools")
        if output is Output.JSON:
            print_json(answer)
            return
        _print_pools(parse(answer, PoolList).pools)


def _print_pools(pools: Sequence[PoolView]) -> None:
    columns = ["template", "ready", "in the making", "wanted", "policy", ""]
    print_table(columns, [pool_row(one) for one in pools], empty="No template keeps a warm pool.")


def pool_row(pool: PoolView) -> list[str]:
    """Return the cells of a pool: how full it is, what its template says, and what is wrong."""
    problem = f"{'stopped' if pool.has_stopped else 'the last one failed'}: {pool.problem}"
    counts = [str(number) for number in (pool.ready, pool.making, pool.wanted)]
    name = f"{pool.template} (booking {pool.booking})" if pool.booking else pool.template
    return [name, *counts, pool.policy, problem if pool.problem else ""]


def _print(view: CapacityView) -> None:
    hosts = [
        [host.name, *_cells(host.shares), _labels(host.labels), _problem(host.known, host.remark)]
        for host in view.hosts
    ]
    columns = ["environments", "CPU", "memory"]
    print_table(["host", *columns, "labels", ""], hosts, empty="No host is known yet.")
    print_line()
    quotas = [[quota.whose, *_cells(quota.shares)] for quota in view.quotas]
    print_table(["quota of", *columns], quotas, empty="")
    if view.holdings is not None:
        print_line()
        rows = [_reservation(one) for one in view.holdings]
        columns = ["name", "owner", "team", "template", "host", "CPU", "memory", "ends"]
        print_table(columns, rows, empty="There are no reservations.")
    if view.remark:
        print_line()
        print_line(view.remark)


def _reservation(one: HoldingView) -> list[str]:
    who = [one.name, one.owner, one.team, one.template, one.host]
    return [*who, format_cpu(one.cpu), format_memory(one.memory), relative_time(one.ends_at)]


def _cells(shares: SharesView) -> list[str]:
    environments, cpu = _share(shares.environments, str), _share(shares.cpu, format_cpu)
    return [environments, cpu, _share(shares.memory, format_memory)]


def _share(share: ShareView, format_amount: Callable[[int], str]) -> str:
    if share.total is None or share.left is None:
        return f"{format_amount(share.held)} held, no limit"
    return f"{format_amount(share.left)} of {format_amount(share.total)} left"


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _problem(known: bool, remark: str) -> str:
    return remark if known else f"gets no environment: {remark or 'not known yet'}"

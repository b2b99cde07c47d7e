"""The page of the capacity workflow in Temporal's Web UI."""

from collections.abc import Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.capacity.ledger import CapacityLedger
    from contracts.types.quantities import format_cpu, format_memory


def render_capacity(ledger: CapacityLedger, audit: str) -> str:
    """Return the page in Markdown: the result of the last audit, and how much of each host is reserved."""
    lines = [
        f"**{len(ledger)} held**; the last audit: {audit}",
        "",
        "| host | environments | CPU | memory | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, room in ledger.hosts.items():
        held, total = ledger.reserved("host", name), room.total
        cells = (
            _format_share(held.environments, total.environments, str),
            _format_share(held.cpu, total.cpu, format_cpu),
            _format_share(held.memory, total.memory, format_memory),
            room.remark,
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_share(held: int, total: int | None, format_amount: Callable[[int], str]) -> str:
    return format_amount(held) if total is None else f"{format_amount(held)} of {format_amount(total)}"

"""The page of one environment in Temporal's Web UI."""

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import EnvironmentStatus
    from contracts.environment.template_change import describe_template
    from contracts.expiry import format_utc

#: Between two columns of the page: two no-break spaces.
_GAP = "\u00a0\u00a0"


def render_details(status: EnvironmentStatus) -> str:
    """Return the page in Markdown: the phase, the steps, and what holds it up."""
    lines = [
        f"**{status.environment.name}** of {status.environment.owner}: **{status.phase.words}**, "
        f"ends {format_utc(status.expires_at)}",
        "",
        _table_row("step", "system", "state", "since", ""),
        "| :-- | :-- | :-- | :-- | :-- |",
    ]
    for step in status.steps:
        since = _format_clock(step.ended_at or step.started_at)
        lines.append(_table_row(step.step, step.system, step.state, since, step.note))
    if status.problem:
        lines += ["", f"**Why it ends**: {status.problem.cause} {status.problem.remedy}"]
    for problem in status.unfinished:
        lines += ["", f"**Not undone yet**: {problem.step}: {problem.cause} {problem.remedy}"]
    if status.change:
        direction = "Going back from" if status.change.problem else "Changing to"
        lines += ["", f"**{direction}** {describe_template(status.change.template)}"]
    if restore := status.restore:
        direction = "Going back from" if restore.problem else "Restoring"
        lines += ["", f"**{direction}** snapshot {restore.number}"]
        if restore.obstacle:
            lines += ["", f"**Not restored yet**: {restore.obstacle.cause}"]
    if status.access_problem:
        lines += ["", f"**Access not changed yet**: {status.access_problem.cause}"]
    if status.sleep and status.sleep.problem:
        lines += ["", f"**Neither asleep nor awake yet**: {status.sleep.problem.cause}"]
    if status.next_pass_at:
        lines += ["", f"**Next pass of the teardown**: {format_utc(status.next_pass_at)}"]
    return "\n".join(lines)


def _table_row(*cells: str) -> str:
    # Temporal's Web UI puts cells side by side with nothing between them, but it keeps these blanks.
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(f'{cell}{_GAP}' for cell in escaped)} |"


def _format_clock(moment: datetime | None) -> str:
    return moment.strftime("%H:%M:%S") if moment else ""
